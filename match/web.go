package match

import (
	"bytes"
	"net/netip"
)

// webFormats are JSON access logs and the error logs of web servers.
func webFormats() []definition {
	return []definition{
		jsonAccess(jsonKeys{
			name:    "nginx-json",
			address: []string{"remote_addr", "client", "client_ip", "remote_ip", "ip", "nginx.remote_addr"},
			status:  []string{"status", "response_code", "code"}, user: []string{"remote_user"},
			method: []string{"request_method", "method"}, path: []string{"uri", "request_uri", "path"},
			request: "request", host: []string{"host", "server_name"}, agent: []string{"http_user_agent", "user_agent"},
		}),
		// client_ip is the client that Caddy found behind its trusted proxies.
		jsonAccess(jsonKeys{
			name:    "caddy",
			address: []string{"request.client_ip", "request.remote_ip", "request.remote_addr"},
			status:  []string{"status"}, user: []string{"user_id"}, method: []string{"request.method"},
			path: []string{"request.uri"}, host: []string{"request.host"},
		}),
		jsonAccess(jsonKeys{
			name:    "traefik-json",
			address: []string{"ClientHost", "ClientAddr"}, status: []string{"DownstreamStatus"},
			user: []string{"ClientUsername"}, method: []string{"RequestMethod"}, path: []string{"RequestPath"},
			host: []string{"RequestHost"}, agent: []string{"request_User-Agent"}, needUser: true,
		}),
		jsonAccess(jsonKeys{
			name:    "envoy-json",
			address: []string{"downstream_remote_address", "downstream_direct_remote_address"},
			status:  []string{"response_code"}, method: []string{"method", ":method"},
			path: []string{"x-envoy-origin-path", "path", ":path"}, host: []string{":authority", "authority"},
			agent: []string{"user_agent", "user-agent"},
		}),
		jsonAccess(jsonKeys{
			name: "json",
			address: []string{"client_ip", "remote_ip", "remote_addr", "client_addr", "source_ip", "src_ip", "ip",
				"address", "client.ip", "source.ip", "request.client_ip", "request.remote_ip", "remoteAddr",
				"remoteAddress", "clientIp", "client"},
			status: []string{"status", "status_code", "statusCode", "http.response.status_code", "response.status"},
			user:   []string{"user", "username", "user.name"}, method: []string{"method", "request.method"},
			path: []string{"path", "uri", "url", "request.uri"}, host: []string{"host", "request.host"},
			agent: []string{"user_agent", "userAgent"},
		}),
		nginxError(), apacheError(),
	}
}

// jsonKeys are the keys of a JSON access log.
type jsonKeys struct {
	name                                      string
	address, status, user, method, path, host []string
	agent                                     []string
	request                                   string // the whole first line of the request
	needUser                                  bool   // a 401 counts only with a user
}

func jsonAccess(k jsonKeys) definition {
	return definition{name: k.name, http: true, parse: k.parse}
}

func (k jsonKeys) parse(f *Format, line []byte) Result {
	start := bytes.IndexByte(line, '{') // some collectors put a time and a stream before it
	if start < 0 || !isCollected(line[:start]) || !f.readJSON(line[start:]) {
		return Result{}
	}
	status, ok := f.status(k.status...)
	if !ok {
		return Result{Kind: Ambiguous}
	}
	if status == 0 && len(f.text(k.address...)) == 0 {
		return Result{} // a message of another kind
	}
	var r reading
	f.address(&r, k.address...)
	result := r.result(1)
	if !r.found || result.Kind == Ambiguous {
		return result
	}
	if user := f.text(k.user...); len(user) > 0 {
		result.User = user
	}
	result.HTTP = Request{
		Method: f.text(k.method...), Path: withoutQuery(f.text(k.path...)),
		Host: f.text(k.host...), Agent: f.text(k.agent...), Status: status,
	}
	result.HTTP.Forwarded = f.forwarded()
	if k.request != "" && result.HTTP.Path == nil {
		result.HTTP.Method, result.HTTP.Path = splitRequest(f.text(k.request))
	}
	if (status == 0 || isFailure(status)) && !(k.needUser && status == 401 && result.User == nil) {
		result.Kind = Failure
	}
	return result
}

// forwarded returns the header that names the client behind a proxy. If it is there twice, it
// cannot be read as one.
func (f *Format) forwarded() []byte {
	var all []value
	for _, k := range []string{"http_x_forwarded_for", "x_forwarded_for", "x-forwarded-for", "X-Forwarded-For",
		"forwarded_for", "http_forwarded", "request_X-Forwarded-For", "headers.x-forwarded-for"} {
		all = append(all, f.get(k)...)
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return unescape(all[0].raw)
	}
	return []byte("?")
}

// isCollected reports whether the text before a JSON object can be a time, a stream and a tag
// of a container runtime, or a syslog head.
func isCollected(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	_, ok := skipTime(skipPriority(b))
	return ok && bytes.IndexByte(b, '"') < 0
}

// parseHostPort reads an address with or without a port. IPv6 with a port needs brackets.
func parseHostPort(b []byte) (netip.Addr, bool) {
	if a, ok := parseAddr(b); ok {
		return a, true
	}
	host, port := b, []byte(nil)
	if inner, ok := bytes.CutPrefix(b, []byte("[")); ok {
		host, port, _ = bytes.Cut(inner, []byte("]"))
	} else if i := bytes.IndexByte(b, ':'); i >= 0 {
		host, port = b[:i], b[i:]
	}
	if len(port) > 0 {
		n, rest := number(port[1:])
		if port[0] != ':' || n < 0 || len(rest) > 0 {
			return netip.Addr{}, false
		}
	}
	return parseAddr(host)
}

// nginxError is the error log of nginx. It does not escape the path and the referrer, so a
// client can write almost a whole line there.
//
// Where nothing that the client sends comes before its address, or only a user name, which
// holds no colon, a line has one reading. Lines with a path have another reading if the path
// holds ", client: ". nginx cuts a line at 2048 bytes. A client could
// choose the path such that its own address is cut off, so long lines are not read.
func nginxError() definition {
	const start = "<:[0-9/]+> <:[0-9:]+> [<:[a-z]+>] <:[0-9]+>#<:[0-9]+>: *<:[0-9]+> "
	const end = ", client: <addr>, server: <:.*>"
	return definition{
		name: "nginx-error", longest: 2000,
		aliases: []string{"nginx-http-auth", "nginx-botsearch", "nginx-limit-req", "nginx-bad-request"},
		failure: []string{
			start + "user \"<user:[^:]*>\": password mismatch" + end,
			start + "user \"<user:.*>\"{|:} was not found in \"<:[^\"]*>\"" + end,
			start + "no user/password was provided for basic authentication" + end,
			start + "limiting {requests|connections}<:[^\"]*>by zone \"<:[^\"]*>\"" + end,
			start + "{open()|stat()|lstat()|opendir()} \"<:.*>\" failed (<:[0-9]+>: <:[A-Za-z ]+>)" + end,
			start + "\"<:.*>\" is {not found|forbidden} (<:[0-9]+>: <:[A-Za-z ]+>)" + end,
			start + "directory index of \"<:.*>\" is forbidden" + end,
			start + "access forbidden by rule" + end,
			start + "client sent <:.*>" + end,
			start + "FastCGI sent in stderr: \"Primary script unknown\" while reading response header from upstream" +
				end,
			start + "FastCGI sent in stderr: \"Unable to open primary script: <:.*>\" while reading response header" +
				" from upstream" + end,
		},
	}
}

// apacheError is the error log of Apache 2.2 and 2.4. The address comes before everything that
// the client sends.
func apacheError() definition {
	const start = "[<:[^\\]]*>] {[<:[^\\]]*>] |[<:[^\\]]*>] [pid <:[^\\]]*>] |" +
		"[<:[^\\]]*>] [pid <:[^\\]]*>] <:[^:\\[]+>: |[<:[^\\]]*>] [pid <:[^\\]]*>] (<:[^)]*>)<:[^:\\[]+>: }" +
		"[client <addr>{|:<:[0-9]+>}] {|AH<:[0-9]+>: }"
	return definition{
		name: "apache-error", aliases: []string{"apache-auth"},
		failure: []string{
			start + "user <user:.*> not found<:.*>",
			start + "user <user:.*>: {password mismatch|authentication failure}<:.*>",
			start + "user <user:.*>: authentication failure for <:.*>",
			start + "user `<user:.*>' in realm <:.*>",
			start + "Digest: <:.*>",
			start + "{client denied by server configuration|client used wrong authentication scheme}<:.*>",
			start + "{File does not exist|Invalid URI in request|script not found or unable to stat}<:.*>",
			start + "script '<:.*>' not found or unable to stat<:.*>",
			start + "{Invalid method in request|request failed|Client sent malformed Host header}<:.*>",
			start + "ModSecurity: Access denied <:.*>",
		},
	}
}
