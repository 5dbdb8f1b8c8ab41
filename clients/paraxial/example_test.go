package paraxial_test

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/clients/paraxial"
)

func Example() {
	shield := paraxial.New(paraxial.Options{})
	defer shield.Close()
	app := http.NewServeMux()
	app.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if password != "secret" {
			addr := netip.MustParseAddr("198.51.100.9")
			shield.Report(paraxial.Event{Address: addr, Rule: "login", User: user, Text: "wrong password"})
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	app.HandleFunc("/wp-admin/", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		shield.Ban(ctx, paraxial.PrefixOf(netip.MustParseAddr("198.51.100.9")), time.Hour, "honeypot")
	})
	http.ListenAndServe("127.0.0.1:8080", shield.Allowed(app))
}
