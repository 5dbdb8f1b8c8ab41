package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
)

// Events reports events, in their order and in as many requests as they need. Lines of refusals
// count from 1 over all events. After an error, the first Accepted+len(Refused) events were
// taken, and those of one request more may have been.
func (c *Client) Events(ctx context.Context, events []Event) (Taken, error) {
	var all Taken
	var body bytes.Buffer
	send := func(first, count int) error {
		defer body.Reset()
		if count == 0 {
			return nil
		}
		taken, err := c.sendEvents(ctx, body.Bytes())
		all.Accepted += taken.Accepted
		for _, r := range taken.Refused {
			r.Line += first
			all.Refused = append(all.Refused, r)
		}
		return err
	}
	first := 0
	for n, e := range events {
		line, err := json.Marshal(e.plain())
		if err != nil {
			return all, fmt.Errorf("encode event %d: %w", n+1, err)
		}
		if n-first == MaxEvents || body.Len()+len(line) >= MaxBody {
			if err := send(first, n-first); err != nil {
				return all, err
			}
			first = n
		}
		body.Write(append(line, '\n'))
	}
	return all, send(first, len(events)-first)
}

func (c *Client) sendEvents(ctx context.Context, body []byte) (taken Taken, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	err = c.exchange(ctx, http.MethodPost, "/v1/events", nil, bytes.NewReader(body), &taken)
	return taken, err
}

// Rate reports an event, and returns what happens to the packets of its source.
func (c *Client) Rate(ctx context.Context, e Event) (v Verdict, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/rate", e.plain(), &v)
	return v, err
}

// Verdict returns what happens to the packets of an address.
func (c *Client) Verdict(ctx context.Context, addr netip.Addr) (v Verdict, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	err = c.exchange(ctx, http.MethodGet, "/v1/verdict", url.Values{"address": {addr.String()}}, nil, &v)
	return v, err
}

// Verdicts returns the verdicts on at most MaxVerdicts addresses, in their order.
func (c *Client) Verdicts(ctx context.Context, addrs []netip.Addr) ([]Verdict, error) {
	var list verdicts
	err := c.ask(ctx, http.MethodPost, "/v1/verdicts", addrs, &list)
	return list.Verdicts, err
}

// Ban blocks an address or prefix, within the budget of the reporter.
func (c *Client) Ban(ctx context.Context, b Ban) (v Verdict, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/ban", b, &v)
	return v, err
}
