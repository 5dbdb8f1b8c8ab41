package match

import "bytes"

// appFormats are applications with a login of their own.
func appFormats() []definition {
	return []definition{
		{
			name: "vaultwarden", longest: cutAt,
			failure: []string{
				"[<:[0-9TZ :.+-]+>][<:[a-z:_]+>][<:[A-Z]+>] Username or password is incorrect. Try again. IP: " +
					"<addr>. Username: <user:.*>.",
				"[<:[0-9TZ :.+-]+>][<:[a-z:_]+>][<:[A-Z]+>] Invalid admin token. IP: <addr>",
				"[<:[0-9TZ :.+-]+>][<:[a-z:_]+>][<:[A-Z]+>] Invalid TOTP code! Server time: <:[^!]*> IP: <addr>",
			},
		},
		{name: "nextcloud", parse: parseNextcloud},
		{name: "grafana", parse: parseGrafana},
		gitea("gitea"), gitea("forgejo"),
		{
			// The name is that of the address in the DNS, which has no blank.
			name: "home-assistant", longest: 4 * cutAt,
			failure: []string{
				"<:[0-9-]+> <:[0-9:.]+> WARNING (<:[A-Za-z]+>) [homeassistant.components.http.ban] " +
					"Login attempt or request with invalid authentication from {<:[^ ]+> (<addr>)|<addr>}.<:.*>",
				"<:[0-9-]+> <:[0-9:.]+> WARNING (<:[A-Za-z]+>) [homeassistant.components.http.ban] " +
					"Login attempt or request with invalid authentication from {<:[^ ]+> (<addr>)|<addr>}",
			},
		},
	}
}

// gitea quotes the name of the user before and behind the address. A name with an address in it
// has several readings.
func gitea(name string) definition {
	const end = " from <addr>{|:<:[0-9]+>}: <:.*>"
	return definition{
		name: name, longest: cutAt,
		failure: []string{
			"<:.*> Failed authentication attempt for <user:.*>" + end,
			"<:.*> invalid credentials from <addr>{|:<:[0-9]+>}",
			"Failed authentication attempt for <user:.*>" + end,
		},
	}
}

func parseNextcloud(f *Format, line []byte) Result {
	if !f.readJSON(line) {
		return Result{}
	}
	message := f.text("message")
	isLogin := bytes.HasPrefix(message, []byte("Login failed: "))
	if !isLogin && !bytes.HasPrefix(message, []byte("Trusted domain error.")) {
		return Result{}
	}
	var r reading
	f.address(&r, "remoteAddr")
	result := r.result(1)
	if result.Kind == Other {
		result.Kind = Failure
		result.HTTP.Method, result.HTTP.Path = f.text("method"), withoutQuery(f.text("url"))
		if isLogin {
			user, _, _ := bytes.Cut(message[len("Login failed: "):], []byte(" (Remote IP:"))
			result.User = bytes.Trim(user, "'")
		}
	}
	return result
}

// parseGrafana reads pairs such as msg="Invalid username or password" remote_addr=198.51.100.9.
// Grafana quotes values with blanks, so a value holds no further pair.
func parseGrafana(f *Format, line []byte) Result {
	if len(line) > 0 && line[0] == '{' {
		if !f.readJSON(line) {
			return Result{}
		}
	} else if !f.readPairs(line) {
		return Result{}
	}
	for _, v := range append(append(f.get("msg"), f.get("error")...), f.get("errorMessage")...) {
		switch string(bytes.ToLower(unescape(v.raw))) {
		case "invalid username or password", "failed to authenticate request",
			"[password-auth.failed] failed to authenticate identity: [identity.not-found] invalid password":
			var r reading
			f.address(&r, "remote_addr")
			result := r.result(1)
			if result.Kind == Other {
				result.Kind, result.User = Failure, f.text("uname")
			}
			return result
		}
	}
	return Result{}
}

// readPairs reads logfmt into f.values.
func (f *Format) readPairs(line []byte) bool {
	f.values = f.values[:0]
	for len(line) > 0 {
		line = bytes.TrimLeft(line, " ")
		key, rest, ok := bytes.Cut(line, []byte("="))
		if !ok {
			return len(bytes.TrimSpace(line)) == 0
		}
		if bytes.ContainsAny(key, " \"") {
			return false
		}
		var v []byte
		if len(rest) > 0 && rest[0] == '"' {
			if v, rest, ok = quoted(rest); !ok {
				return false
			}
		} else {
			v, rest, _ = bytes.Cut(rest, []byte(" "))
		}
		f.values = append(f.values, value{string(key), v, true})
		line = rest
	}
	return true
}
