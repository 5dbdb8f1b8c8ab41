package paraxial

import (
	"context"
	"net/http"
	"net/netip"
)

// Allowed returns a handler that answers 403 to clients whose packets are dropped. Such requests
// arrive by a proxy, or by an interface without the filter. Other requests pass, with the verdict
// in their context.
func (s *Shield) Allowed(next http.Handler) http.Handler {
	return s.middleware(next, http.StatusForbidden, func(r *http.Request, a netip.Addr) (Verdict, error) {
		return s.Ask(r.Context(), a)
	})
}

// Rate returns a handler that counts each request for a rule, and answers 429 to clients whose
// packets are dropped.
func (s *Shield) Rate(rule string, next http.Handler) http.Handler {
	return s.middleware(next, http.StatusTooManyRequests, func(r *http.Request, a netip.Addr) (Verdict, error) {
		path := r.URL.Path[:min(len(r.URL.Path), maxText)]
		return s.Count(r.Context(), Event{Address: a, Rule: rule, Path: path, Text: r.Method})
	})
}

func (s *Shield) middleware(
	next http.Handler, refused int, ask func(*http.Request, netip.Addr) (Verdict, error),
) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := s.opts.Client(r)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		v, err := ask(r, a)
		switch {
		case err != nil:
			s.events.tell("a request passes without a verdict", err)
		case v.Dropped():
			http.Error(w, http.StatusText(refused), refused)
			return
		default:
			r = r.WithContext(context.WithValue(r.Context(), verdictKey{}, v))
		}
		next.ServeHTTP(w, r)
	})
}

type verdictKey struct{}

// FromContext returns the verdict that Allowed or Rate got for a request, with its tags.
func FromContext(ctx context.Context) (Verdict, bool) {
	v, ok := ctx.Value(verdictKey{}).(Verdict)
	return v, ok
}

// peer returns the other end of the connection of a request.
func peer(r *http.Request) (netip.Addr, bool) {
	p, err := netip.ParseAddrPort(r.RemoteAddr)
	return p.Addr().Unmap().WithZone(""), err == nil
}
