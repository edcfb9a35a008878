// Sends the requests that standard input lists, some at once over connections that are kept, and prints each answer's status and code.
// An answer that does not arrive is printed as what Node says of it.
import http from "node:http";
import { text } from "node:stream/consumers";

const { host, port, at_once, requests } = JSON.parse(await text(process.stdin));
const agent = new http.Agent({ keepAlive: true, maxSockets: at_once });

function send({ method, path, headers, bytes }) {
  return new Promise((resolve) => {
    const request = http.request({ host, port, method, path, headers, agent, timeout: 30_000 }, async (answer) => {
      try {
        resolve(`${answer.statusCode} ${JSON.parse(await text(answer)).code}`);
      } catch (error) {
        resolve(`${error.code ?? error}`);
      }
    });
    request.on("timeout", () => request.destroy(new Error("no answer in 30 s")));
    request.on("error", (error) => resolve(`${error.code ?? error.message}`));
    request.end(Buffer.alloc(bytes, " "));
  });
}

const answers = new Array(requests.length);
let next = 0;
async function sendSome() {
  while (next < requests.length) {
    const index = next++;
    answers[index] = await send(requests[index]);
  }
}
await Promise.all(Array.from({ length: at_once }, sendSome));
console.log(JSON.stringify(answers));
agent.destroy();
