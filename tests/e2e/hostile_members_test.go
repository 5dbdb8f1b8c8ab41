package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
)

// Users in the group of the socket.
const (
	flooder  = 60001 // and three more, of the same person
	flooders = 4
	greedy   = 60011
	modest   = 60021 // blocks one address after another
)

// insider sends requests to the daemon as a user in the group.
type insider struct {
	uid  int
	http *http.Client
}

func (s *storm) insider(uid int) insider {
	dial := func(context.Context, string, string) (net.Conn, error) {
		return dialAs(uid, []uint32{socketGroup}, "unix", s.daemon.Socket)
	}
	return insider{uid, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

func (m insider) post(ctx context.Context, path string, body io.Reader) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://paraxial"+path, body)
	if err != nil {
		return 0, err
	}
	answer, err := m.http.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, err
}

func (m insider) block(ctx context.Context, path string, r control.BlockRequest) (int, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	return m.post(ctx, path, bytes.NewReader(body))
}

// floodAsMember is a person with several uids in the group. The entries that they make end soon
// after the storm.
func floodAsMember(ctx context.Context, s *storm) {
	var running sync.WaitGroup
	life := fmt.Sprintf("%.0fs", (s.period/2 + 5*time.Second).Seconds())
	for i := range flooders {
		m := s.insider(flooder + i)
		for j := range 8 {
			running.Go(func() { m.blockMany(ctx, s, "/v1/block", j, life) })
			running.Go(func() { m.blockMany(ctx, s, "/v1/preview", j, life) })
		}
		running.Go(func() { m.importUnderManyOrigins(ctx, s, life) })
	}
	running.Go(func() { s.insider(modest).blockOneByOne(ctx, s) })
	running.Wait()
}

// blockMany makes shadow entries for 10,000 prefixes at a time, or asks what they would do.
func (m insider) blockMany(ctx context.Context, s *storm, path string, salt int, life string) {
	r := control.BlockRequest{Action: "shadow", For: life}
	for i := range 10_000 {
		r.Prefixes = append(r.Prefixes, fmt.Sprintf("10.%d.%d.%d", 100+salt, i>>8, i&255))
	}
	for pause(ctx, 10*time.Millisecond) {
		if _, err := m.block(ctx, path, r); err == nil {
			s.note("answers to "+path+" of 10,000 by members", 1)
		}
	}
}

// importUnderManyOrigins imports the same list again and again, each time under another name.
func (m insider) importUnderManyOrigins(ctx context.Context, s *storm, life string) {
	var list strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&list, "10.90.%d.%d\n", i>>8, i&255)
	}
	for n := 0; pause(ctx, 10*time.Millisecond); n++ {
		path := fmt.Sprintf("/v1/import?origin=o%d-%d&for=%s", m.uid, n, life)
		if status, err := m.post(ctx, path, strings.NewReader(list.String())); err == nil && status == http.StatusOK {
			s.note("imports under another name by members", 1)
		}
	}
}

// blockOneByOne is a member who does no harm, and whose acknowledged blocks must last.
func (m insider) blockOneByOne(ctx context.Context, s *storm) {
	for n := 0; pause(ctx, 100*time.Millisecond) && n < 1<<16; n++ {
		prefix := fmt.Sprintf("100.125.%d.%d/32", n>>8, n&255)
		if status, err := m.block(ctx, "/v1/block", control.BlockRequest{Prefixes: []string{prefix}}); err == nil &&
			status == http.StatusOK {
			s.acknowledge(prefix)
			s.note("acknowledged blocks of a modest member", 1)
		}
	}
}

// attackAsMembers does what TestHostileCallers does, as users in the group, and more slowly what keeps
// streams busy.
func attackAsMembers(ctx context.Context, s *storm) {
	var running sync.WaitGroup
	all := append(attacks(),
		attack{"a list that trickles", 16, trickle},
		attack{"reading nothing of what happens", 64, func(ctx context.Context, c net.Conn, _ *rand.Rand) {
			io.WriteString(c, "GET /v1/watch HTTP/1.1\r\nHost: x\r\n\r\n")
			<-ctx.Done()
		}})
	for i, a := range all {
		for j := range min(a.callers, 64) {
			dial := func() (net.Conn, error) {
				return dialAs(greedy+j%4, []uint32{socketGroup}, "unix", s.daemon.Socket)
			}
			running.Go(func() { s.carryOn(ctx, dial, a, newRand(uint64(i<<16|j))) })
		}
	}
	running.Wait()
}

// trickle imports a list of which a line comes from time to time, after a large part.
func trickle(ctx context.Context, c net.Conn, r *rand.Rand) {
	request := fmt.Sprintf("POST /v1/import?origin=slow%d", r.IntN(1<<20))
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", request)
	var part strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&part, "11.%d.%d.0/24\n", i>>8, i&255)
	}
	for ctx.Err() == nil {
		if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", part.Len(), part.String()); err != nil {
			return
		}
		part.Reset()
		fmt.Fprintf(&part, "12.%d.%d.0/24\n", r.IntN(256), r.IntN(256))
		if !pause(ctx, 2*time.Second) {
			return
		}
	}
}
