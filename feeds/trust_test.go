package feeds

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
)

// TestResolvedAddress: a name is checked by the address that the connection goes to.
func TestResolvedAddress(t *testing.T) {
	l := newLab(t)
	l.env.fetcher.allow = checkPublic
	l.answer = say("203.0.113.66\n")
	for _, host := range []string{"localhost", "127.0.0.1"} {
		l.feed.URL = "https://" + host + ":" + l.server.URL[strings.LastIndex(l.server.URL, ":")+1:]
		l.bad("is not an address of the internet; if it is meant, set private: true")
	}
	if len(l.requests) > 0 {
		t.Error("a connection was made")
	}
	l.feed.URL, l.feed.Private = l.server.URL, true
	l.good()
}

// TestByProxy: the proxy may have a private address. Addresses in a URL are checked.
func TestByProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host)
		w.WriteHeader(502)
	}))
	defer proxy.Close()
	l := newLab(t)
	l.env.fetcher.allow = checkPublic
	l.env.fetcher.proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	l.feed.URL = "https://lists.example/list.txt"
	l.bad("Bad Gateway")
	l.feed.URL = "https://10.0.0.1/list.txt"
	l.bad("10.0.0.1 is not an address of the internet")
	if len(asked) != 1 || asked[0] != "lists.example:443" {
		t.Errorf("the proxy was asked for %q", asked)
	}
}

// TestSecrets: neither errors nor states have the user, password or key of a URL, and a
// redirect does not pass them on.
func TestSecrets(t *testing.T) {
	l := newLab(t)
	l.feed.URL = strings.Replace(l.feed.URL, "https://", "https://user:secret@", 1) + "?key=secret"
	l.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "" {
			w.WriteHeader(500)
			return
		}
		http.Redirect(w, r, "/other", http.StatusFound)
	}
	l.bad("500")
	if st := l.state(); strings.Contains(fmt.Sprintf("%+v", st), "secret") {
		t.Errorf("the state has the secret: %+v", st)
	}
	for n, r := range l.requests {
		if _, _, ok := r.BasicAuth(); ok != (n == 0) && n == 0 {
			t.Error("the first request has no password")
		}
		if r.Header.Get("Referer") != "" {
			t.Errorf("request %d has the Referer %q", n, r.Header.Get("Referer"))
		}
	}
	l.feed.URL = strings.Replace(l.feed.URL, "127.0.0.1", "127.0.0.2", 1)
	l.bad("127.0.0.2 is not")
	l.feed.URL = "https://user:secret@[bad/?key=secret"
	if err := l.refreshed(); err == "" || strings.Contains(err, "secret") {
		t.Errorf("error %q", err)
	}
}

func TestChecksum(t *testing.T) {
	l := newLab(t, func(f *Feed) { f.SHA256 = strings.TrimSuffix(f.URL, "list.txt") + "SHA256SUMS" })
	list := "198.51.100.9\n"
	sums := func() string {
		sum := sha256.Sum256([]byte(list))
		return strings.Repeat("0", 64) + "  other.txt\n" + strings.ToUpper(hex.EncodeToString(sum[:])) + " *list.txt\n"
	}
	bodies := 0
	l.answer = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "SHA256SUMS") {
			io.WriteString(w, sums())
			return
		}
		bodies++
		io.WriteString(w, list)
	}
	l.good()
	l.good()
	l.has(1, "198.51.100.9/32")
	if bodies != 1 {
		t.Errorf("the list was fetched %d times, but its checksum has not changed", bodies)
	}
	sums = func() string { return strings.Repeat("0", 64) }
	l.bad("the SHA-256 of the list")
	sums = func() string { return "what?" }
	l.bad("want one SHA-256")
	sums = func() string { return strings.Repeat(strings.Repeat("0", 64)+"\n", 2) }
	l.bad("there are 2")
	l.has(1, "198.51.100.9/32")
	l.feed.SHA256 = "http" + strings.TrimPrefix(l.feed.SHA256, "https")
	l.bad("is not https")
}

func TestSignature(t *testing.T) {
	key, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(f *Feed) { f.Minisign = key.String() })
	list := "198.51.100.9\n"
	sign := func(b []byte) []byte {
		r := minisign.NewReader(strings.NewReader(string(b)))
		io.Copy(io.Discard, r)
		return r.Sign(private)
	}
	signature := sign([]byte(list))
	l.answer = func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasSuffix(r.URL.Path, ".minisig"):
			io.WriteString(w, list)
		case signature == nil:
			w.WriteHeader(404)
		default:
			w.Write(signature)
		}
	}
	l.good()
	l.has(1, "198.51.100.9/32")
	signature = nil
	l.bad("fetch the signature")
	list = "198.51.100.10\n"
	signature = sign([]byte("198.51.100.9\n"))
	l.bad("the signature is not one of this list")
	other, foreign, _ := minisign.GenerateKey(rand.Reader)
	signature, private = sign([]byte(list)), foreign
	signature = sign([]byte(list))
	l.bad("the signature is not one of this list")
	l.has(1, "198.51.100.9/32")
	l.restart(func(f *Feed) { f.Minisign = other.String() })
	l.good()
	l.has(2, "198.51.100.10/32")
	l.restart(func(f *Feed) { f.Minisign = "x" })
	l.bad("want the second line of the .pub file")

	file := filepath.Join(t.TempDir(), "list")
	for name, b := range map[string][]byte{file: []byte(list), file + ".minisig": signature} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.restart(func(f *Feed) { f.Minisign, f.URL = other.String(), file })
	l.good()
}

// TestPlainHTTP: http needs a signature or a checksum.
func TestPlainHTTP(t *testing.T) {
	plain := httptest.NewServer(say("198.51.100.9\n"))
	defer plain.Close()
	l := newLab(t, func(f *Feed) { f.URL = plain.URL })
	l.bad("http needs a signature (minisign) or a checksum over https (sha256)")
	sum := sha256.Sum256([]byte("198.51.100.9\n"))
	l.answer = say(hex.EncodeToString(sum[:]))
	l.restart(func(f *Feed) { f.SHA256 = l.server.URL + "/sum" })
	l.good()
	l.has(1, "198.51.100.9/32")
	for address, want := range map[string]string{"ftp://x/": "neither https, http nor a file",
		"file://host/x": "nor a file"} {
		l.restart(func(f *Feed) { f.URL, f.SHA256 = address, "" })
		l.bad(want)
	}
}

func TestPublicAddresses(t *testing.T) {
	for a, want := range map[string]bool{
		"198.51.100.1": true, "8.8.8.8": true, "2a00::1": true, "64:ff9b::808:808": true, "2002:808:808::1": true,
		"10.1.2.3": false, "172.31.0.1": false, "192.168.0.1": false, "100.64.0.1": false, "127.0.0.1": false,
		"169.254.169.254": false, "0.0.0.0": false, "0.1.2.3": false, "224.0.0.1": false, "255.255.255.255": false,
		"240.0.0.1": false, "192.0.0.192": false, "198.18.0.1": false, "::": false, "::1": false, "fe80::1": false,
		"fe80::1%eth0": false, "fd00:ec2::254": false, "ff02::1": false, "::ffff:10.0.0.1": false, "::10.0.0.1": false,
		"64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:a00:1::1": false, "2001:0:1::1": false,
		"fec0::1": false,
	} {
		if got := checkPublic(netip.MustParseAddr(a)) == nil; got != want {
			t.Errorf("%s is public: %t, want %t", a, got, want)
		}
	}
}
