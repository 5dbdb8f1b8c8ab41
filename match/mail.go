package match

// mailFormats are mail servers.
func mailFormats() []definition {
	return []definition{dovecot(), postfix(), exim()}
}

// dovecot writes the name of the user before the address, and behind the address no ">" but
// that of the session. A name with an address and the words around it is followed by the ">"
// that ends it, so the address in it does not fit.
func dovecot() definition {
	const login = "{imap|pop3|managesieve|submission|sieve}-login: "
	const rest = ", rip=<addr>, lip=<:[^\\<\\>]+>{|session=\\<<:[^\\<\\>]*>\\>}"
	const backend = "{pam|sql|ldap|passwd-file|static|passwd|shadow}(<user:.*>,<addr>{|,\\<<:[^\\<\\>]*>\\>}): " +
		"{unknown user|Password mismatch|invalid credentials|unknown user (SHA1 of given password: <:[0-9a-f]+>)|" +
		"pam_authenticate() failed: <:[^,]*>}"
	return definition{
		name: "dovecot", longest: cutAt, programs: []string{"dovecot"},
		failure: []string{
			login + "<:[^=]*>auth failed<:[^=]*>user=\\<<user:.*>\\>, method=<:[A-Za-z0-9_-]+>" + rest,
			login + "<:[^=]*>auth failed<:[^=]*>{user=\\<<user:.*>\\>|method=<:[A-Za-z0-9_-]+>}" + rest,
			login + "<:[^=]*>tried to use disallowed plaintext auth<:[^=]*>user=\\<\\>" + rest,
			"{auth|auth-worker|auth-worker(<:[0-9]+>)|auth-worker(<:[0-9]+>): conn <:[^(]*>(<:[^)]*>): auth-worker" +
				"\\<<:[0-9]+>\\>}: {|Info: }" + backend,
		},
		success: []string{login + "{|Info: }Login: user=\\<<user:.*>\\>, method=<:[A-Za-z0-9_-]+>" + rest},
	}
}

// postfix writes the verified name and the address before everything that the client sends.
func postfix() definition {
	const client = "<:[A-Za-z0-9._-]+>[<addr>]{|:<:[0-9]+>}"
	return definition{
		name: "postfix", programs: []string{"postfix", "postfix-submission", "postfix-smtps"},
		failure: []string{
			"warning: " + client + ": SASL <:[A-Za-z0-9_-]+> authentication failed<:.*>",
			"NOQUEUE: reject: {RCPT|MAIL|EHLO|HELO|VRFY|ETRN|BDAT|DATA|CONNECT|END-OF-MESSAGE} from " + client +
				": <:.*>",
			"NOQUEUE: milter-reject: <:[A-Z-]+> from " + client + ": <:.*>",
			"NOQUEUE: reject: RCPT from [<addr>]:<:[0-9]+>: 5<:.*>",
			"<:[0-9A-Za-z]+>: reject: <:[A-Z-]+> from " + client + ": 5<:.*>",
			"improper command pipelining after <:[A-Za-z0-9/-]+> from <:[A-Za-z0-9._-]+>[<addr>]<:.*>",
			"warning: non-SMTP command from " + client + ": <:.*>",
			"lost connection after {AUTH|UNKNOWN|EHLO|HELO} from " + client,
			"too many errors after <:[A-Za-z0-9/-]+> from <:[A-Za-z0-9._-]+>[<addr>]<:.*>",
			"PREGREET <:[0-9]+> after <:[0-9.]+> from [<addr>]:<:[0-9]+>: <:.*>",
			"HANGUP after <:[0-9.]+> from [<addr>]:<:[0-9]+> in tests <:.*>",
			"{BARE NEWLINE|COMMAND PIPELINING|NON-SMTP COMMAND|COMMAND COUNT LIMIT} " +
				"from [<addr>]:<:[0-9]+> after <:.*>",
			"DNSBL rank <:[0-9]+> for [<addr>]:<:[0-9]+>",
		},
		success: []string{
			"<:[0-9A-Za-z]+>: client=" + client + ", sasl_method=<:[A-Za-z0-9_-]+>, sasl_username=<user:.*>",
		},
		other: []string{"{connect|disconnect} from " + client + "{| <:.*>}"},
	}
}

// exim writes what the client says in EHLO, which may hold anything if the server accepts junk,
// before the address. So a line in which another address fits has two readings.
func exim() definition {
	const who = "{(<:.*>) |<:[A-Za-z0-9._-]+> |<:[A-Za-z0-9._-]+> (<:.*>) |H=(<:.*>) |H=<:[A-Za-z0-9._-]+> |" +
		"H=<:[A-Za-z0-9._-]+> (<:.*>) |}[<addr>]{|:<:[0-9]+>}"
	return definition{
		name: "exim", longest: cutAt,
		failure: eximTimes(
			"<:[A-Za-z0-9_.-]+> authenticator failed for "+who+"{| I=[<:[^\\]]*>]:<:[0-9]+>}: 535 "+
				"Incorrect authentication data<:.*>",
			who+" {F=\\<<:.*>\\> |}{rejected|temporarily rejected|sender verify fail}<:.*>",
			"SMTP protocol {synchronization|error} <:.*> "+who+"{| <:.*>|: <:.*>}",
			"SMTP call from "+who+" dropped: too many {syntax or protocol errors|nonmail commands"+
				"|unrecognized commands}<:.*>",
		),
	}
}

// eximTimes returns texts with each way to write the time before them.
func eximTimes(texts ...string) (all []string) {
	for _, t := range texts {
		all = append(all, t, "<:[0-9-]+> <:[0-9:.]+> "+t, "<:[0-9-]+> <:[0-9:.]+> [<:[0-9]+>] "+t)
	}
	return all
}
