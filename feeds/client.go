package feeds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// Bounds of a request, beside those of the feed.
const (
	maxRedirects = 5
	maxHeaders   = 64 << 10 // bytes of the headers of an answer
	maxSmall     = 64 << 10 // bytes of a checksum or signature
	dialTimeout  = 30 * time.Second
)

// proxyFunc returns the proxy for a request, or nil.
type proxyFunc func(*http.Request) (*url.URL, error)

// newClient returns the client for the requests of one feed. allow checks each address
// before a connection is made, so a name that resolves to another address the second time
// is of no use to an attacker. It does not check connections to a proxy: the proxy resolves
// the names, and only addresses in a URL are checked then.
func newClient(f Feed, proxy proxyFunc, allow func(netip.Addr) error) (*http.Client, error) {
	trusted, err := trustedBy(f.CA)
	if err != nil {
		return nil, err
	}
	if f.Private {
		allow = func(netip.Addr) error { return nil }
	}
	direct, byProxy := newTransport(trusted), newTransport(trusted)
	direct.DialContext = (&net.Dialer{
		Timeout: dialTimeout,
		Control: func(_, address string, _ syscall.RawConn) error { return checkDial(address, allow) },
	}).DialContext
	byProxy.Proxy = proxy
	check := func(req *http.Request, via []*http.Request) error { return checkRedirect(req, via, allow) }
	return &http.Client{Transport: &transport{proxy, direct, byProxy, allow}, CheckRedirect: check}, nil
}

func newTransport(trusted *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  time.Minute,
		MaxResponseHeaderBytes: maxHeaders,
		DisableKeepAlives:      true, // hours pass until the next request
		ForceAttemptHTTP2:      true,
	}
}

// trustedBy returns the certificates in a file, or nil for those of the system.
func trustedBy(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read ca: %s has no certificate in PEM", file)
	}
	return pool, nil
}

// transport sends requests directly or to the proxy.
type transport struct {
	proxy   proxyFunc
	direct  *http.Transport
	byProxy *http.Transport
	allow   func(netip.Addr) error
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	proxy, err := t.proxy(req)
	if err != nil {
		return nil, fmt.Errorf("find the proxy: %w", err)
	}
	if proxy == nil {
		return t.direct.RoundTrip(req)
	}
	if a, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := t.allow(a); err != nil {
			return nil, &addressError{err}
		}
	}
	return t.byProxy.RoundTrip(req)
}

// addressError is the refusal of an address.
type addressError struct{ error }

func (e *addressError) Unwrap() error { return e.error }

func checkDial(address string, allow func(netip.Addr) error) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return &addressError{fmt.Errorf("%s is not an address: %w", address, err)}
	}
	if err := allow(to.Addr()); err != nil {
		return &addressError{err}
	}
	return nil
}

// checkRedirect lets a list move, but not to a place that is less safe.
func checkRedirect(req *http.Request, via []*http.Request, allow func(netip.Addr) error) error {
	// The address of the list may have a key in it.
	req.Header.Del("Referer")
	from := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return fmt.Errorf("the redirect leads to %s:, which is neither https nor http", req.URL.Scheme)
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return fmt.Errorf("the redirect leads from https to http (%s)", shownURL(req.URL.String()))
	}
	if a, err := netip.ParseAddr(req.URL.Hostname()); err == nil {
		if err := allow(a); err != nil {
			return &addressError{fmt.Errorf("the redirect leads to %w", err)}
		}
	}
	return nil
}

// get sends a request. The error has no URL, which may have a key in it.
func get(ctx context.Context, c *http.Client, address, agent string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Accept", "*/*")
	resp, err := c.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	return resp, nil
}

func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if a, ok := errors.AsType[*addressError](err); ok {
		err = a
	}
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		return fmt.Errorf("no complete answer in time: %w", err)
	}
	return err
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// expects reports whether an answer may be used, and says what it is if not.
func expect(resp *http.Response, now time.Time) error {
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNotModified {
		return nil
	}
	text := fmt.Sprintf("the server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	return &answerError{strings.TrimSpace(text), retryAfter(resp, now)}
}

// answerError is an answer that is no list.
type answerError struct {
	text  string
	retry time.Duration // the server wants no request for so long
}

func (e *answerError) Error() string {
	if e.retry > 0 {
		return fmt.Sprintf("%s; retry after %s", e.text, e.retry)
	}
	return e.text
}
