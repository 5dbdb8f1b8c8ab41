package report

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestBatch: a batch has the same lines as events that encoding/json writes.
func TestBatch(t *testing.T) {
	when := time.Date(2026, 1, 2, 3, 4, 5, 678000000, time.FixedZone("x", 3600))
	var b Batch
	b.Add(Record{Address: addr("::ffff:192.0.2.1"), Rule: "login", Points: 3, User: []byte("a\"b\\c"),
		Path: []byte("/ü"),
		Time: when, Success: true, Text: []byte("a\x00b\xffc\n" + strings.Repeat("x", 300)),
		Where: "/var/log/x", At: 7})
	b.Add(Record{Address: addr("2001:db8::1"), Rule: "login", Where: "journal", At: -1})
	want := []Event{
		{Address: addr("192.0.2.1"), Rule: "login", Points: 3, User: `a"b\c`, Path: "/ü", Time: when.UTC(),
			Success: true,
			Text:    "a?b?c?" + strings.Repeat("x", MaxEventText-6), Where: "/var/log/x:7"},
		{Address: addr("2001:db8::1"), Rule: "login", Where: "journal"},
	}
	var got []Event
	for line := range strings.Lines(string(b.body)) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, e)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(equalAddr)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	b.Reset()
	for !b.Full() {
		b.Add(Record{Address: addr("192.0.2.1"), Rule: "login", Text: []byte(strings.Repeat(`"`, MaxEventText))})
	}
	if b.Len() >= MaxEvents || len(b.body) > batchSize+2*MaxEventText+200 {
		t.Errorf("%d events, %d bytes", b.Len(), len(b.body))
	}
}

// TestBatchText: bytes that JSON does not have as they are may be anywhere.
func TestBatchText(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	parts := []string{"a", "bc", "~", " ", "\x7f", `"`, `\`, "\x00", "\x1f", "\n", "\xff", "ü",
		"€", "\xc3", "\x80", "!", "#"}
	for range 5000 {
		var text string
		for range random.IntN(30) {
			text += parts[random.IntN(len(parts))]
		}
		var got string
		if text != "" {
			if err := json.Unmarshal(appendField(nil, `"`, []byte(text)), &got); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
		var want strings.Builder
		for _, r := range text {
			if r == utf8.RuneError || r < ' ' {
				r = '?'
			}
			want.WriteRune(r)
		}
		if got != want.String() {
			t.Fatalf("%q is sent as %q", text, got)
		}
	}
}

// TestOnce: a batch that is sent again is counted once.
func TestOnce(t *testing.T) {
	f := allow(shop())
	socket, _ := serve(t, f, Options{})
	send := func(source, id, text string) Taken {
		t.Helper()
		var b Batch
		b.Add(Record{Address: addr("192.0.2.1"), Rule: "login", User: []byte(text)})
		b.Add(Record{Address: addr("192.0.2.1"), Rule: "unknown"})
		taken, err := NewClient(socket).Send(t.Context(), source, id, &b)
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	for _, tt := range []struct {
		source, id, text string
		counted          bool
	}{
		{"a", "", "1", true}, {"a", "", "1", false}, {"b", "", "1", true}, {"a", "", "1", false}, {"a", "", "2", true},
		{"a", "", "1", true}, {"", "", "1", true}, {"", "", "1", true},
		{"a", "x", "1", true}, {"a", "x", "2", false}, {"a", "y", "2", true}, {"a", "y", "2", false},
	} {
		taken := send(tt.source, tt.id, tt.text)
		if taken.Accepted != 1 || len(taken.Refused) != 1 || taken.Refused[0].Line != 2 {
			t.Errorf("%s %s: %+v", tt.source, tt.text, taken)
		}
		if counted := len(f.taken()) > 0; counted != tt.counted {
			t.Errorf("%s %s: counted %t", tt.source, tt.text, counted)
		}
	}
	var o once
	for n := range 10 * maxSources {
		o.of("x", strings.Repeat("s", n))
	}
	if n := len(o.last["x"]); n > maxSources {
		t.Errorf("%d sources are remembered", n)
	}
	if answer := sendRaw(t, socket, "POST /v1/events?source="+strings.Repeat("x", 65)+" HTTP/1.1\r\nHost: x\r\n"+
		"Connection: close\r\nContent-Length: 0\r\n\r\n"); !strings.Contains(answer, CodeInvalidRequest) {
		t.Errorf("a long name: %s", answer)
	}
}

// TestOverBudgetOnce: events over the budget are counted when their batch comes again, and none is
// counted twice.
func TestOverBudgetOnce(t *testing.T) {
	rights := shop()
	rights.EventsPerSecond = 300
	f := allow(rights)
	socket, _ := serve(t, f, Options{OverBudget: time.Millisecond})
	batch := func(name string) *Batch {
		var b Batch
		for n := range 1000 {
			rule := "login"
			if n == 990 {
				rule = "unknown"
			}
			b.Add(Record{Address: addr("192.0.2.1"), Rule: rule, User: []byte(name + strconv.Itoa(n))})
		}
		return &b
	}
	over := func(taken Taken) bool { return slices.ContainsFunc(taken.Refused, isBudget) }
	send := func(id string, b *Batch) Taken {
		t.Helper()
		taken, err := NewClient(socket).Send(t.Context(), "a", id, b)
		if err != nil {
			t.Fatal(err)
		}
		if taken.Accepted+len(taken.Refused) != 1000 {
			t.Fatalf("%d events are accepted and %d refused", taken.Accepted, len(taken.Refused))
		}
		return taken
	}
	taken, requests := send("1", batch("a")), 1
	if !over(taken) {
		t.Fatal("nothing is over the budget")
	}
	for ; over(taken); requests++ {
		taken = send("1", batch("a"))
	}
	if taken.Accepted != 999 || len(taken.Refused) != 1 || taken.Refused[0].Line != 991 {
		t.Errorf("the last answer: %d accepted, %+v", taken.Accepted, taken.Refused)
	}
	if again := send("1", batch("a")); again.Accepted != 999 {
		t.Errorf("the same batch again: %d accepted", again.Accepted)
	}
	counted := map[string]int{}
	for _, call := range f.taken() {
		counted[call[strings.LastIndexByte(call, ' ')+1:]]++
	}
	for n := range 1000 {
		want := 1
		if n == 990 {
			want = 0
		}
		if got := counted["a"+strconv.Itoa(n)]; got != want {
			t.Errorf("event %d was counted %d times in %d requests, want %d", n, got, requests, want)
		}
	}
	// Another run may make other events of the same lines.
	if !over(send("2", batch("b"))) {
		t.Fatal("nothing is over the budget")
	}
	f.taken()
	answer, err := NewClient(socket).Send(t.Context(), "a", "2", batch("c"))
	if err != nil || over(answer) || len(f.taken()) > 0 {
		t.Errorf("other events with the same id: %d accepted, %v", answer.Accepted, err)
	}
}

func isBudget(r Refusal) bool { return r.Code == CodeBudget }
