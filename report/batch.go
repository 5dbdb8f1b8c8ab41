package report

import (
	"bytes"
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

// Record is an Event whose texts are parts of a buffer. Where ends with At if that is not
// negative.
type Record struct {
	Address          netip.Addr
	Rule             string
	Points           int
	User, Path, Text []byte
	Time             time.Time
	Success, End     bool
	Where            string
	At               int64
}

// Batch are events in the form in which they are sent. Its zero value is empty.
type Batch struct {
	body []byte
	n    int
}

// batchSize is the size of a body from which on a Batch is full.
const batchSize = 256 << 10

// Len returns the number of events.
func (b *Batch) Len() int { return b.n }

// Full reports whether the batch has to be sent before another event is added.
func (b *Batch) Full() bool { return b.n == MaxEvents || len(b.body) >= batchSize }

// Reset removes all events.
func (b *Batch) Reset() { b.body, b.n = b.body[:0], 0 }

// Add adds an event. It allocates nothing, so that many lines a second can be reported.
func (b *Batch) Add(r Record) {
	to := append(b.body, `{"address":"`...)
	to = append(r.Address.Unmap().AppendTo(to), '"')
	to = appendField(to, `,"rule":"`, []byte(r.Rule))
	if r.Points > 1 {
		to = strconv.AppendInt(append(to, `,"points":`...), int64(r.Points), 10)
	}
	to = appendField(to, `,"user":"`, r.User)
	to = appendField(to, `,"path":"`, r.Path)
	if !r.Time.IsZero() {
		to = append(r.Time.UTC().AppendFormat(append(to, `,"time":"`...), time.RFC3339Nano), '"')
	}
	if r.Success {
		to = append(to, `,"success":true`...)
	}
	if r.End {
		to = append(to, `,"end":true`...)
	}
	to = appendField(to, `,"text":"`, r.Text)
	if r.Where != "" {
		to = appendField(to, `,"where":"`, []byte(r.Where))
		if r.At >= 0 {
			to = append(strconv.AppendInt(append(to[:len(to)-1], ':'), r.At, 10), '"')
		}
	}
	b.body = append(to, '}', '\n')
	b.n++
}

// appendField appends a field with a text, unless it is empty. The text is cut, and bytes that
// are no text are replaced.
func appendField(to []byte, field string, text []byte) []byte {
	if len(text) == 0 {
		return to
	}
	to = append(to, field...)
	text = text[:min(len(text), MaxEventText)]
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			n := i + 1
			for n < len(text) && text[n] >= ' ' && text[n] < utf8.RuneSelf && text[n] != '"' && text[n] != '\\' {
				n++
			}
			to = append(to, text[i:n]...)
			i = n
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c < ' ' || r == utf8.RuneError && size == 1:
			to = append(to, '?')
		default:
			to = append(to, text[i:i+size]...)
		}
		i += size
	}
	return append(to, '"')
}

// Select returns a batch of the events with these numbers, from 1.
func (b *Batch) Select(numbers []int) *Batch {
	lines := bytes.SplitAfter(b.body, []byte("\n"))
	var part Batch
	for _, n := range numbers {
		part.body = append(part.body, lines[n-1]...)
		part.n++
	}
	return &part
}

// Send reports the events of a batch. If source is not empty, the batch may be sent again after
// an error, or by another run of the program: the same batch is counted once, until another
// batch of the source is sent. A batch with the same id is the same; without an id, one with the
// same events is.
func (c *Client) Send(ctx context.Context, source, id string, b *Batch) (taken Taken, err error) {
	var query url.Values
	if source != "" {
		query = url.Values{"source": {source}}
		if id != "" {
			query.Set("batch", id)
		}
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	err = c.exchange(ctx, http.MethodPost, "/v1/events", query, bytes.NewReader(b.body), &taken)
	return taken, err
}
