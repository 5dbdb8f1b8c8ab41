package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// FuzzAPI sends arbitrary requests to the server of a real daemon whose kernel is a map.
// Each answer must be a result or a client error, and the kernel must hold the nodes of
// the book. /v1/stats is left out: it has no input, and reads the kernel.
func FuzzAPI(f *testing.F) {
	paths := []string{
		"/v1/block", "/v1/allow", "/v1/unblock", "/v1/unallow", "/v1/promote", "/v1/confirm", "/v1/import",
		"/v1/entries", "/v1/why", "/v1/status", "/v1/detectors", "/v1/top", "/v1/detach", "/v2", "",
	}
	for i, seed := range []struct{ query, body string }{
		{"", `{"prefixes":["203.0.113.0/24","2001:db8::1"],"for":"1h","reason":"x","origin":"a","confirm":"60s"}`},
		{"", `{"prefixes":["203.0.113.7"],"for":"2s"}`},
		{"", `{"prefixes":["203.0.113.0/24"],"all":true}`},
		{"", `{"prefixes":["203.0.113.7"],"origin":"a"}`},
		{"", `{"prefixes":["203.0.113.0/24"],"force":true}`},
		{"", `{"id":""}`},
		{
			"origin=x&for=1h&skip_invalid=true&force=false",
			"203.0.113.1\n2001:db8::/32 # why\n0.0.0.0/0\nrubbish\n\xef\xbb\xbf10.0.0.1, 2\n",
		},
		{"kind=block&origin=a", ""},
		{"address=203.0.113.7", ""},
		{"", ""}, {"", ""}, {"", ""}, {"", ""}, {"a=%zz", ""}, {"", "\x00"},
	} {
		f.Add(uint8(i), true, seed.query, []byte(seed.body))
		f.Add(uint8(i), false, seed.query, []byte(seed.body))
	}
	f.Add(uint8(0), true, "", []byte(`{"prefixes":["198.51.100.0/24"],"action":"limit","rate":"10/s"}`))
	f.Add(uint8(0), false, "",
		[]byte(`{"prefixes":["::ffff:1.2.3.4","fe80::1","0.0.0.0/0"],"action":"shadow","force":true}`))
	const limit = 300
	k := &fakeKernel{nodes: map[string]policy.Verdict{}}
	d := newDaemonOver(f, k, filepath.Join(f.TempDir(), StoreFile), limit)
	client := serveFuzzed(f, d)
	f.Fuzz(func(t *testing.T, path uint8, post bool, query string, body []byte) {
		if strings.ContainsFunc(query, unicode.IsControl) {
			return // net/http refuses to send it
		}
		method := http.MethodGet
		if post {
			method = http.MethodPost
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://x/", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawQuery = paths[int(path)%len(paths)], query
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode == 400 && strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
			return // net/http has refused a request that is not valid HTTP
		}
		if err := checkAnswer(answer); err != nil {
			t.Fatalf("%s %s?%s %q: %v", method, r.URL.Path, query, body, err)
		}
		checkKernel(t, d, k, limit)
	})
}

// serveFuzzed serves d on a socket and returns a client that does not check requests.
func serveFuzzed(tb testing.TB, d *Daemon) *http.Client {
	tb.Helper()
	socket := filepath.Join(tb.TempDir(), "s")
	l, err := control.Listen(socket, "")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- control.NewServer(d, control.Options{Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l)
	}()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// checkAnswer reads an answer, which may be a stream, and returns an error if it is wrong.
func checkAnswer(r *http.Response) error {
	const longest = 1 << 20
	if !slices.Contains([]int{200, 400, 403, 404, 405, 409, 413}, r.StatusCode) {
		body, _ := io.ReadAll(r.Body)
		return fmt.Errorf("status %s: %s", r.Status, body)
	}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, longest)
	for lines.Scan() {
		var line struct {
			Error *control.Error `json:"error"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("answer %q: %w", lines.Bytes(), err)
		}
		e := line.Error
		if e != nil && (e.Code == control.CodeInternal || e.Code == control.CodeStoreFailed || e.Message == "") {
			return fmt.Errorf("error %+v", e)
		}
		if r.StatusCode != 200 && line.Error == nil {
			return fmt.Errorf("status %s without an error: %q", r.Status, lines.Bytes())
		}
	}
	return lines.Err()
}

// checkKernel fails the test unless the kernel holds exactly the nodes of the book, and
// no more than limit of each kind and family.
func checkKernel(t *testing.T, d *Daemon, k *fakeKernel, limit int) {
	t.Helper()
	var err error
	check := func() { d.engine.Read(func(b *policy.Book) { err = kernelHas(k, b, limit) }) }
	for end := time.Now().Add(time.Minute); !d.engine.Undisturbed(check); {
		if time.Now().After(end) {
			t.Fatal("changes are under way for a minute")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func kernelHas(k *fakeKernel, b *policy.Book, limit int) error {
	nodes := 0
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		for n := range b.Nodes(kind) {
			if nodes++; k.nodes[nodeKey(n)] != n.Verdict {
				return fmt.Errorf("%s: kernel has %+v, book has %+v", nodeKey(n), k.nodes[nodeKey(n)], n.Verdict)
			}
		}
		for _, family := range policy.Families() {
			if size := b.Size(kind, family); size > limit {
				return fmt.Errorf("%d nodes, want %d at most", size, limit)
			}
		}
	}
	if nodes != len(k.nodes) {
		return fmt.Errorf("%d nodes in the kernel, %d in the book", len(k.nodes), nodes)
	}
	return nil
}
