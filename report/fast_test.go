package report

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

// decodedLines are lines that are read by hand, and lines that are not.
func decodedLines() []string {
	return []string{
		`{"address":"192.0.2.1","rule":"login"}`,
		`{"address":"2001:db8::1%eth0","rule":"ü","points":7,"user":"a b","path":"/x",` +
			`"time":"2026-01-01T00:00:00Z","success":true,"text":"t","where":"w:1"}`,
		`{"points":07}`, `{"points":-0}`, `{"points":1e2}`, `{"points":1,}`, `{"points":1,,"rule":"x"}`, `{,}`, `{}`,
		`{`, ``, `{"address":""}`, `{"address":"x"}`, `{"rule":"a\"b"}`, `{"rule":"a\u0041"}`, "{\"rule\":\"\xff\"}",
		`{"rule":"a""user":"b"}`, `{"rule":null}`, `{"success":false}`, `{"success":tru}`, `{"Rule":"x"}`,
		`{"other":1}`, `{"rule":"a","rule":"b"}`, `{"rule" : "a"}`, `{"rule":"a"} x`, `{"time":"x"}`, `{"time":null}`,
		`{"rule":{"a":1}}`, `{"rule":"a}`, "{\"rule\":\"a\x01\"}", `{"rule":"`, `{"rule":`, `{"rule"`, `{"points":}`,
		`{"rule":"x",`, ` {"rule":"x"} `, "{\"rule\":\"x\"}\r\n\t", "{}\v", "{}\u00a0", "\u0085{}",
	}
}

func checkDecode(t *testing.T, line string) {
	t.Helper()
	var want Event
	wantErr := json.Unmarshal([]byte(line), &want)
	got, err := decodeEvent([]byte(line))
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %+v, %v; want %+v, %v", line, got, err, want, wantErr)
	}
	for _, question := range []string{
		`{"rate":` + line + `}`, `{"event":` + line + "}\n", `{"verdict":` + line + `}`, line,
	} {
		checkQuestion(t, question)
	}
}

func checkQuestion(t *testing.T, line string) {
	t.Helper()
	var want question
	wantErr := json.Unmarshal([]byte(line), &want)
	got, err := decodeQuestion([]byte(line))
	if (err == nil) != (wantErr == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %+v, %v; want %+v, %v", line, got, err, want, wantErr)
	}
}

// A line that is read by hand gives what encoding/json gives.
func TestDecode(t *testing.T) {
	for _, line := range decodedLines() {
		checkDecode(t, line)
	}
	checkQuestion(t, `{"verdict":"192.0.2.1"}`)
	var e Event
	for _, line := range decodedLines()[:2] {
		if !fastEvent(&e, []byte(line)) {
			t.Errorf("%s is not read by hand", line)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, line := range decodedLines() {
		f.Add(line)
	}
	f.Fuzz(checkDecode)
}

func TestAppendVerdict(t *testing.T) {
	for _, v := range []Verdict{
		{Tags: []string{}},
		{
			Address: addr("2001:db8::1"), Verdict: "drop", Origin: "rule:login", Until: time.Unix(1, 5).UTC(),
			Points: 7, Limit: -1, Tags: []string{"a", `b"<&>`, "\xffü"},
		},
	} {
		want, err := json.Marshal(v)
		if got := appendVerdict(nil, v); err != nil || string(got) != string(want) {
			t.Errorf("got %s, want %s, %v", got, want, err)
		}
	}
}
