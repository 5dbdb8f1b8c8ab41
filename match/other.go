package match

// otherFormats are databases, telephony and networks.
func otherFormats() []definition {
	return []definition{
		{
			// The address is behind the name, and nothing of the client behind the address.
			name: "mariadb", aliases: []string{"mysql", "mysqld"}, longest: cutAt,
			failure: []string{
				"<:[0-9TZ :.+-]+>[{Warning|Note}] {|[MY-<:[0-9]+>] [Server] }Access denied for user " +
					"'<user:.*>'@'<addr>' (using password: {YES|NO})",
				"<:[0-9TZ :.+-]+>[{Warning|Note}] {|[MY-<:[0-9]+>] [Server] }Access denied for user " +
					"'<user:.*>'@'<addr>'",
				"<:.*>: Access denied for user '<user:.*>'@'<addr>' (using password: {YES|NO})",
			},
		},
		postgresql(), asterisk(), openvpn(),
		{
			// Anybody can send a query over UDP in the name of a stranger.
			name: "named", aliases: []string{"named-refused"}, programs: []string{"named"},
			failure: []string{
				"{|<:[0-9A-Za-z-]+> <:[0-9:.]+> }{|<:[a-z]+>: |<:[a-z]+>: <:[a-z]+>: }client " +
					"{|@<:[0-9a-fx]+> }<addr>#<:[0-9]+>" +
					"{| (<:[^ ]*>)}{|: view <:[^ ]+>}: {query|update|zone transfer|notify" +
					"|bad zone transfer request}<:.*> denied<:.*>",
			},
		},
	}
}

// postgresql writes the address if log_line_prefix has %h or %r, and for hosts that pg_hba.conf
// does not know. The names of the user and of the database may come before it.
func postgresql() definition {
	return definition{
		name: "postgresql", aliases: []string{"postgres"}, longest: cutAt,
		failure: []string{
			"<:.*>FATAL:  no pg_hba.conf entry for {|replication connection from }host \"<addr>\", user <:.*>",
			"<:.*>FATAL:  pg_hba.conf rejects {|replication }connection for host \"<addr>\", user <:.*>",
			"<:[0-9A-Z :.+-]+>[<:[0-9-]+>{]: |] }<addr>{|(<:[0-9]+>)} <:.*>" + authFailed,
			"<:[0-9A-Z :.+-]+>[<:[0-9-]+>{]: |] }<addr>{|(<:[0-9]+>)}:<:.*>" + authFailed,
			"<addr>{|(<:[0-9]+>)} <:.*>" + authFailed,
		},
	}
}

const authFailed = "FATAL:  {password|Ident|peer|LDAP|PAM|GSSAPI|SSPI|RADIUS|certificate} " +
	"authentication failed for user <:.*>"

// asterisk quotes what the client registers before the address. Behind the address there is no
// further quote, which rules out an address in the client's text.
func asterisk() definition {
	return definition{
		name: "asterisk", longest: 2 * cutAt,
		failure: asteriskTimes(
			"Registration from '<:.*>' failed for '<addr>{|:<:[0-9]+>}' - <:[^'\"]*>",
			"Registration from '<:.*>' failed for '<addr>{|:<:[0-9]+>}' (callid: <:[^']*>) - <:[^'\"]*>",
			"Request '<:[A-Z]+>' from '<:.*>' failed for '<addr>{|:<:[0-9]+>}' (callid: <:[^']*>) - <:[^'\"]*>",
			"Host <addr> failed to authenticate as '<user:.*>'",
			"No registration for peer '<user:.*>' (from <addr>)",
			"{Failed to authenticate|Sending fake auth rejection for} {user|device} <:.*>@<addr>{;|\\>;}<:.*>",
			"Call from '<:.*>' (<addr>:<:[0-9]+>) to extension '<:[^']*>' rejected because extension not found in "+
				"context '<:[^']*>'.",
			"SecurityEvent=\"{InvalidAccountID|InvalidPassword|ChallengeResponseFailed|FailedACL|InvalidTransport|"+
				"UnexpectedAddress|RequestBadFormat|RequestNotAllowed|AuthMethodNotAllowed}\",<:.*>,"+
				"RemoteAddress=\"IPV<:[46]+>/<:[A-Z]+>/<addr>/<:[0-9]+>\"{|,<:.*>}",
		),
		success: asteriskTimes("SecurityEvent=\"SuccessfulAuth\",<:.*>," +
			"RemoteAddress=\"IPV<:[46]+>/<:[A-Z]+>/<addr>/<:[0-9]+>\"{|,<:.*>}"),
	}
}

// asteriskTimes returns texts with each way to write what comes before them.
func asteriskTimes(texts ...string) (all []string) {
	for _, t := range texts {
		all = append(all,
			"[<:[^\\]]*>] {NOTICE|WARNING|SECURITY}[<:[^\\]]*>]{|[<:[^\\]]*>]}{|:} <:[a-z_./]+>{:|:<:[0-9]+> "+
				"<:[a-z_0-9]+>:} "+t,
			"{NOTICE|WARNING|SECURITY}[<:[^\\]]*>]{|[<:[^\\]]*>]}{|:} <:[a-z_./]+>{:|:<:[0-9]+> <:[a-z_0-9]+>:} "+t)
	}
	return all
}

// openvpn lines count if they come after a handshake, in which the client has proved its
// address. Errors of single UDP packets do not count: anybody can send these in the name of a
// stranger.
func openvpn() definition {
	const message = "<addr>:<:[0-9]+> {TLS Auth Error: |VERIFY ERROR: |SENT CONTROL [<:[^\\]]*>]: 'AUTH_FAILED}<:.*>"
	return definition{
		name: "openvpn",
		failure: []string{
			"{|[AF_INET]|[AF_INET6]}" + message,
			// A time, or the head of syslog. The text of a client's certificate has a "=" before it.
			"<:[A-Za-z0-9 :\\[\\]_.+-]+> {|[AF_INET]|[AF_INET6]}" + message,
		},
	}
}
