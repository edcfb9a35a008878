// A checkout that reserves, charges and confirms, and handles late and refused payments. See examples/README.md.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"sync"
	"time"
)

const (
	holdSeconds = 2
	attempts    = 5
	timeout     = 5 * time.Second
	slow        = holdSeconds*time.Second + 500*time.Millisecond
	late        = holdSeconds*time.Second + 3*time.Second
)

var (
	api    = environment("API_URL", "http://127.0.0.1:8080")
	apiKey = environment("API_KEY", "")
	// The client keeps connections open between calls.
	client = &http.Client{Timeout: timeout}
)

func environment(name, usual string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return usual
}

// Refused is a business answer: sold out, limit reached, hold expired. A retry would get the same one.
type Refused struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (refused *Refused) Error() string { return refused.Code + ": " + refused.Detail }

type reservation struct {
	ID string `json:"id"`
}

type sale struct {
	Items []struct {
		Stock, Available, Held, Confirmed int
	} `json:"items"`
}

// call repeats a request until it is answered. Every try carries the same idempotency key, so it takes effect once.
func call(method, path string, body any, key string, answer any) error {
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for attempt := 0; attempt < attempts; attempt++ {
		wait := time.Duration(0)
		done, pause, err := try(method, path, sent, key, answer)
		if done {
			return err
		}
		wait = pause
		// Full jitter, so that callers that failed together do not retry together.
		longest := 50 * time.Millisecond << attempt
		if longest > time.Second {
			longest = time.Second
		}
		if jitter := time.Duration(rand.Int63n(int64(longest))); jitter > wait {
			wait = jitter
		}
		time.Sleep(wait)
	}
	return fmt.Errorf("%s %s: no answer after %d attempts", method, path, attempts)
}

func try(method, path string, sent []byte, key string, answer any) (done bool, pause time.Duration, err error) {
	request, err := http.NewRequest(method, api+path, bytes.NewReader(sent))
	if err != nil {
		return true, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	authorize(request)
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := client.Do(request)
	if err != nil {
		return false, 0, err // the outcome is unknown: repeat with the same key
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return false, 0, err
	case response.StatusCode < 300:
		return true, 0, json.Unmarshal(text, answer)
	case response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return false, time.Duration(seconds) * time.Second, nil
	}
	refused := &Refused{}
	if err := json.Unmarshal(text, refused); err != nil {
		return true, 0, err
	}
	return true, 0, refused
}

func authorize(request *http.Request) {
	if apiKey != "" {
		request.Header.Set("Authorization", "Bearer "+apiKey)
	}
}

func putSale(id string, units int) error {
	type object = map[string]any
	return call("PUT", "/v1/sales/"+id, object{
		"name": "Console drop", "opens_at": "2026-01-01T00:00:00Z", "closes_at": "2036-01-01T00:00:00Z",
		"hold_seconds": holdSeconds, "max_extensions": 1, "customer_limit": 1,
		"items": []object{{"sku": "console", "initial_stock": units, "price": object{"amount": 39900, "currency": "EUR"}}},
	}, "", &sale{})
}

func reserve(id, customer, attempt string) (held reservation, err error) {
	line := map[string]any{"sku": "console", "quantity": 1}
	body := map[string]any{"customer": customer, "lines": []any{line}}
	err = call("POST", "/v1/sales/"+id+"/reservations", body, attempt, &held)
	return held, err
}

func extend(id string) error {
	return call("POST", "/v1/reservations/"+id+"/extend", map[string]int{"hold_seconds": 2 * holdSeconds}, "", &reservation{})
}

func confirm(id, order string) error {
	return call("POST", "/v1/reservations/"+id+"/confirm", map[string]string{"reference": order}, "", &reservation{})
}

func release(id, reason string) error {
	return call("POST", "/v1/reservations/"+id+"/release", map[string]string{"reason": reason}, "", &reservation{})
}

// bank describes how a customer's bank behaves.
type bank struct {
	takes   time.Duration
	refuses bool
	// The bank reports at once that the payment will take longer.
	pending bool
}

// payments is a simulated payment provider.
type payments struct {
	mutex             sync.Mutex
	charged, refunded map[string]bool
}

func (p *payments) charge(bank bank, payment string) bool {
	if bank.refuses {
		return false
	}
	time.Sleep(bank.takes)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.charged[payment] = true
	return true
}

func (p *payments) refund(payment string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.refunded[payment] = true
}

func (p *payments) kept() int { return len(p.charged) - len(p.refunded) }

// key returns a new key for each attempt of one customer to buy one cart.
func key(customer string) string {
	return fmt.Sprintf("%s-%d-%d", customer, time.Now().UnixNano(), rand.Int63())
}

// buy takes one customer through the checkout, and returns the result.
func buy(p *payments, sale, customer string, bank bank) (string, error) {
	attempt := key(customer)
	held, err := reserve(sale, customer, attempt)
	var refused *Refused
	if errors.As(err, &refused) {
		return refused.Code, nil
	} else if err != nil {
		return "", err
	}
	// As if the answer had been lost: the same request again gives the same reservation, not a second one.
	if again, err := reserve(sale, customer, attempt); err != nil || again.ID != held.ID {
		return "", fmt.Errorf("asked again: %v, %w", again, err)
	}
	order := "order-" + customer
	if bank.pending { // before the hold expires: afterwards it is too late
		if err := extend(held.ID); err != nil {
			return "", err
		}
	}
	if !p.charge(bank, held.ID) {
		return "payment refused", release(held.ID, "payment refused")
	}
	err = confirm(held.ID, order)
	if err == nil {
		return "sold", confirm(held.ID, order) // the provider repeats its callback: the same answer
	}
	if !errors.As(err, &refused) || (refused.Code != "reservation_expired" && refused.Code != "already_released") {
		return "", err
	}
	// The payment came too late, and another customer may have the units: reserve others, with a new key.
	held2, err := reserve(sale, customer, key(customer))
	if err == nil {
		err = confirm(held2.ID, order)
	}
	switch {
	case err == nil:
		return "sold late", nil
	case errors.As(err, &refused):
		p.refund(held.ID)
		return "refunded", nil
	}
	return "", err
}

// follower reads the feed of events. When its connection breaks, it continues after the last event.
type follower struct {
	sale   string
	begun  chan struct{}
	once   sync.Once
	mutex  sync.Mutex
	told   map[string]int
	cursor string
	breaks int
}

func (f *follower) run() {
	for {
		if err := f.read(); err != nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func (f *follower) read() error {
	address := api + "/v1/events"
	if f.cursor != "" {
		address += "?after=" + url.QueryEscape(f.cursor)
	}
	stop, cancel := context.WithCancel(context.Background())
	defer cancel()
	request, err := http.NewRequestWithContext(stop, "GET", address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "application/x-ndjson")
	authorize(request)
	response, err := http.DefaultClient.Do(request) // no timeout, because the feed does not end
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	if f.cursor == "" {
		f.cursor = response.Header.Get("Event-Cursor")
	}
	f.once.Do(func() { close(f.begun) })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue // a heartbeat
		}
		var event struct {
			Type   string
			Cursor string
			Data   struct{ Sale string }
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return err
		}
		if event.Type == "stream.ended" {
			return nil
		}
		// Handle the event first, then save the cursor. A real service does both in one transaction.
		f.mutex.Lock()
		if event.Data.Sale == f.sale {
			f.told[event.Type]++
		}
		f.mutex.Unlock()
		f.cursor = event.Cursor
		if f.breaks > 0 {
			f.breaks--
			return nil // simulates a broken connection
		}
	}
	return lines.Err()
}

func (f *follower) count(kind string) int {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.told[kind]
}

func (f *follower) waitFor(kind string, count int) {
	for deadline := time.Now().Add(30 * time.Second); f.count(kind) < count; time.Sleep(50 * time.Millisecond) {
		must(time.Now().Before(deadline), "waited in vain for %d %s", count, kind)
	}
}

func must(holds bool, format string, values ...any) {
	if !holds {
		log.Fatalf(format, values...)
	}
}

func main() {
	id := fmt.Sprintf("console-drop-%d", time.Now().UnixNano())
	if err := putSale(id, 4); err != nil {
		log.Fatal(err)
	}
	follower := &follower{sale: id, begun: make(chan struct{}), told: map[string]int{}, breaks: 1}
	go follower.run()
	select {
	case <-follower.begun:
	case <-time.After(30 * time.Second):
		log.Fatal("the feed did not begin")
	}

	provider := &payments{charged: map[string]bool{}, refunded: map[string]bool{}}
	ends, lock := map[string]string{}, sync.Mutex{}
	run := func(customer string, bank bank) {
		end, err := buy(provider, id, customer, bank)
		must(err == nil, "%s: %v", customer, err)
		lock.Lock()
		ends[customer] = end
		lock.Unlock()
		fmt.Printf("%-5s %s\n", customer, end)
	}
	run("ann", bank{takes: 100 * time.Millisecond})
	run("bob", bank{refuses: true})
	run("cem", bank{takes: slow, pending: true})
	run("dora", bank{takes: late})

	// One unit is left. Eve's payment is late, and meanwhile Finn takes the unit.
	eve := make(chan struct{})
	go func() {
		run("eve", bank{takes: late})
		close(eve)
	}()
	follower.waitFor("reservation.expired", 2) // dora's, and now eve's
	run("finn", bank{takes: 100 * time.Millisecond})
	<-eve
	run("gwen", bank{takes: 100 * time.Millisecond})
	expected := map[string]string{
		"ann": "sold", "bob": "payment refused", "cem": "sold", "dora": "sold late",
		"eve": "refunded", "finn": "sold", "gwen": "sold_out",
	}
	must(reflect.DeepEqual(ends, expected), "ended as %v", ends)

	var now sale
	if err := call("GET", "/v1/sales/"+id, nil, "", &now); err != nil {
		log.Fatal(err)
	}
	item := now.Items[0]
	must(item.Confirmed == 4 && provider.kept() == 4, "%v, %d payments kept", item, provider.kept())
	must(item.Stock == item.Available+item.Held+item.Confirmed, "%v does not add up", item)
	follower.waitFor("reservation.confirmed", 4)
	must(follower.count("reservation.confirmed") == 4, "the feed told of %v", follower.told)
	fmt.Printf("%d units sold, %d payments kept, %d refunded\n", item.Confirmed, provider.kept(), len(provider.refunded))
}
