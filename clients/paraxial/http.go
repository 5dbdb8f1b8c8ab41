package paraxial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// maxAnswer bounds an answer of the daemon.
const maxAnswer = 2 << 20

func httpClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		// The daemon may close an idle connection at any time to make room.
		DisableKeepAlives: true,
	}}
}

// PrefixOf returns what to ban for an address: it alone, or the /64 of an IPv6 address, because
// an IPv6 host usually has all of it.
func PrefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// Ban blocks a prefix for some time, within the budget of the reporter. It waits until the block
// is in force and on disk.
func (s *Shield) Ban(ctx context.Context, p netip.Prefix, d time.Duration, reason string) (v Verdict, err error) {
	body := struct {
		Address netip.Prefix `json:"address"`
		For     string       `json:"for"`
		Reason  string       `json:"reason"`
	}{p, strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + "s", reason}
	data, err := json.Marshal(body)
	if err != nil {
		return v, err
	}
	err = s.post(ctx, "/v1/ban", data, &v)
	return v, err
}

// Verdicts returns the verdicts on up to 1,000 addresses, in their order.
func (s *Shield) Verdicts(ctx context.Context, addrs []netip.Addr) ([]Verdict, error) {
	data, err := json.Marshal(addrs)
	if err != nil {
		return nil, err
	}
	var list struct{ Verdicts []Verdict }
	err = s.post(ctx, "/v1/verdicts", data, &list)
	return list.Verdicts, err
}

func (s *Shield) post(ctx context.Context, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://paraxiald"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return fmt.Errorf("paraxiald's socket %s: %w: %w", s.opts.Socket, ErrAway, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read paraxiald's answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return json.Unmarshal(data, out)
	}
	var failed answer
	if err := json.Unmarshal(data, &failed); err != nil || failed.Error == nil {
		return fmt.Errorf("unexpected answer from %s: HTTP %s", s.opts.Socket, resp.Status)
	}
	return failed.Error
}

// taken is the answer to events.
type taken struct {
	Accepted int
	Refused  []struct {
		Line          int
		Code, Message string
	}
}

// send sends lines of events.
func (s *Shield) send(ctx context.Context, lines []byte) (t taken, err error) {
	err = s.post(ctx, "/v1/events", lines, &t)
	return t, err
}
