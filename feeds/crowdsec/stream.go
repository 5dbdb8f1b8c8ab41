package crowdsec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// maxKey is the most bytes that a file with a key may have.
const maxKey = 4096

// decision is a decision as the API has it.
type decision struct {
	ID       int64  `json:"id"`
	Origin   string `json:"origin"`
	Type     string `json:"type"`
	Scope    string `json:"scope"`
	Value    string `json:"value"`
	Duration string `json:"duration"` // left
	Scenario string `json:"scenario"`
}

// stream is an answer. Both lists may be null.
type stream struct {
	New, Deleted []decision
}

// ask asks for all decisions, or for the changes since the last answer. By default the API
// leaves out all but the longest decision for an address, and tells nothing when that one is
// deleted. With dedup=false it tells all.
func (f *Follower) ask(ctx context.Context, all bool) (stream, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	key, err := readKey(f.source.KeyFile)
	if err != nil {
		return stream{}, err
	}
	query := url.Values{"startup": {fmt.Sprint(all)}, "dedup": {"false"}}
	address := strings.TrimSuffix(f.source.URL, "/") + "/v1/decisions/stream?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return stream{}, err
	}
	req.Header.Set("X-Api-Key", key)
	req.Header.Set("User-Agent", f.opts.Agent)
	resp, err := f.opts.Client.Do(req)
	if err != nil {
		return stream{}, fmt.Errorf("ask CrowdSec: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, f.source.MaxBytes+1))
	switch {
	case resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized:
		return stream{}, fmt.Errorf("CrowdSec does not accept the key in %s (HTTP %d): make one with "+
			"`cscli bouncers add paraxial`", f.source.KeyFile, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return stream{}, fmt.Errorf("CrowdSec answered %s", resp.Status)
	case err != nil:
		return stream{}, fmt.Errorf("read the answer of CrowdSec: %w", err)
	case int64(len(body)) > f.source.MaxBytes:
		return stream{}, fmt.Errorf("the answer of CrowdSec is longer than %d bytes", f.source.MaxBytes)
	}
	return decode(body)
}

// decode reads an answer. An object that has neither list is another API's.
func decode(body []byte) (stream, error) {
	var lists struct{ New, Deleted json.RawMessage }
	var s stream
	err := json.Unmarshal(body, &lists)
	if err == nil && (lists.New == nil || lists.Deleted == nil) {
		return s, errors.New("the answer has no lists of decisions: is it the local API of CrowdSec?")
	}
	if err == nil {
		err = errors.Join(json.Unmarshal(lists.New, &s.New), json.Unmarshal(lists.Deleted, &s.Deleted))
	}
	if err != nil {
		return s, fmt.Errorf("read the answer of CrowdSec: %w", err)
	}
	return s, nil
}

func readKey(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read crowdsec.key_file: %w; the user of paraxial-agent must be able to read it", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey+1))
	key := string(bytes.TrimSpace(text))
	switch {
	case err != nil:
		return "", fmt.Errorf("read crowdsec.key_file: %w", err)
	case key == "" || len(text) > maxKey || strings.ContainsFunc(key, policy.IsHidden):
		return "", fmt.Errorf("crowdsec.key_file: %s has no key; put the one there that "+
			"`cscli bouncers add paraxial` prints", file)
	}
	return key, nil
}

// ban is a decision that becomes an entry.
type ban struct {
	prefix netip.Prefix
	until  time.Time
	reason string
}

// Reasons why a decision is no ban of an address.
const (
	otherType  = "of another type than ban"
	otherScope = "of another scope than Ip and Range"
	unread     = "not understood"
	ended      = "expired"
)

// banOf returns the ban that a decision is, or why it is none.
func banOf(d decision, now time.Time) (b ban, why string) {
	if !strings.EqualFold(d.Type, "ban") {
		return ban{}, otherType
	}
	if !strings.EqualFold(d.Scope, "ip") && !strings.EqualFold(d.Scope, "range") {
		return ban{}, otherScope
	}
	p, _, err := policy.ParsePrefix(d.Value)
	left, durationErr := time.ParseDuration(d.Duration)
	switch {
	case err != nil || durationErr != nil || p.Bits() == 0:
		return ban{}, unread
	case left <= 0:
		return ban{}, ended
	}
	return ban{p, now.Add(left), reasonOf(d)}, ""
}

// maxReason is the length at which a reason is cut.
const maxReason = 200

// reasonOf returns the scenario and the origin of a decision. They may come from strangers.
func reasonOf(d decision) string {
	text := strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if policy.IsHidden(r) {
			return '?'
		}
		return r
	}, d.Scenario+" ("+d.Origin+")"), "?")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}
