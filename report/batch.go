package report

import (
	"bytes"
	"context"
	"encoding/binary"
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
	body     []byte
	n        int
	time     time.Time // of the last event that has one
	timeText []byte    // time as it is sent: many events have the same
	rule     string    // of the last event
	ruleText []byte    // the field with it
	where    string    // of the last event that has an offset
	whereAt  []byte    // the field with it, up to the offset
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
	if r.Rule != b.rule {
		b.rule, b.ruleText = r.Rule, appendField(b.ruleText[:0], `,"rule":"`, []byte(r.Rule))
	}
	to = append(to, b.ruleText...)
	if r.Points > 1 {
		to = strconv.AppendInt(append(to, `,"points":`...), int64(r.Points), 10)
	}
	to = appendField(to, `,"user":"`, r.User)
	to = appendField(to, `,"path":"`, r.Path)
	if !r.Time.IsZero() {
		if !r.Time.Equal(b.time) {
			b.time, b.timeText = r.Time, r.Time.UTC().AppendFormat(b.timeText[:0], time.RFC3339Nano)
		}
		to = append(append(append(to, `,"time":"`...), b.timeText...), '"')
	}
	if r.Success {
		to = append(to, `,"success":true`...)
	}
	if r.End {
		to = append(to, `,"end":true`...)
	}
	to = appendField(to, `,"text":"`, r.Text)
	switch {
	case r.Where == "":
	case r.At < 0:
		to = appendField(to, `,"where":"`, []byte(r.Where))
	default:
		if r.Where != b.where {
			field := appendField(b.whereAt[:0], `,"where":"`, []byte(r.Where))
			b.where, b.whereAt = r.Where, append(field[:len(field)-1], ':')
		}
		to = append(strconv.AppendInt(append(to, b.whereAt...), r.At, 10), '"')
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
		n := plainPart(text[i:])
		to = append(to, text[i:i+n]...)
		if i += n; i == len(text) {
			break
		}
		c := text[i]
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

// plainPart returns how many bytes at the start of text a string in JSON has as they are. It looks at
// eight bytes at once, since that is most of the work of Add.
func plainPart(text []byte) (n int) {
	const ones = 0x0101010101010101
	for ; n+8 <= len(text); n += 8 {
		x := binary.LittleEndian.Uint64(text[n:])
		// The highest bit of a byte becomes 1 if the byte is not ASCII, less than a blank, a quote
		// or a backslash. Without such a byte nothing is carried from one byte to the next.
		if (x|(x-' '*ones)|((x^'"'*ones)-ones)|((x^'\\'*ones)-ones))&(0x80*ones) != 0 {
			break
		}
	}
	for n < len(text) && text[n] >= ' ' && text[n] < utf8.RuneSelf && text[n] != '"' && text[n] != '\\' {
		n++
	}
	return n
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
