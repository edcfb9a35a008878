// Shows this service's own OpenAPI document, and asks nobody else.
const answer = await fetch("openapi.json");
const api = await answer.json();
// HEAD is as GET without the body: no reader misses it.
for (const calls of Object.values(api.paths)) delete calls.head;
window.SwaggerUIBundle({
  spec: api,
  dom_id: "#api",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  // A key stays in this tab's memory.
  persistAuthorization: false,
  validatorUrl: null,
});
