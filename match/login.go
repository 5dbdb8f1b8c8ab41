package match

// loginFormats are sshd and other servers that people log in to.
//
// sshd cuts the name of a user at a colon, and quotes up to 100 bytes of it, 200 in the lines
// with "invalid user" and "authenticating user".
func loginFormats() []definition {
	const pam = "{pam_unix|pam_sss|pam_krb5|pam_ldap|pam_winbind}"
	// The name is the rest of such a line, whatever is in it. No field before it has a blank.
	// The suffix [preauth] is that of the process without privileges.
	const end = "{| \\[preauth]}"
	return []definition{{
		name: "sshd", longest: cutAt, programs: []string{"sshd", "sshd-session", "sshd-auth"},
		strip: []string{"error: ", "fatal: "},
		failure: []string{
			"{Invalid|Illegal} user <user:[^:]*> from <addr>{| port <:[0-9]+>}" + end,
			"Failed {password|keyboard-interactive/pam|keyboard-interactive|hostbased|gssapi-with-mic" +
				"|gssapi-keyex|challenge-response|rhosts|rhosts-rsa|rsa|bsdauth|skey} for {invalid user " +
				"|illegal user |}<user:[^:]*> from <addr>" +
				"{| port <:[0-9]+>| port <:[0-9]+> ssh<:[12]+>| port <:[0-9]+> ssh<:[12]+>: <:.*>}",
			"Failed {publickey|none} for {invalid|illegal} user <user:[^:]*> from <addr>" +
				"{| port <:[0-9]+>| port <:[0-9]+> ssh<:[12]+>| port <:[0-9]+> ssh<:[12]+>: <:.*>}",
			"PAM: <:[^:]*> for {illegal user |invalid user |}<user:[^:]*> from <addr>" + end,
			"User <user:[^:]*> from <addr> not allowed because <:[^0-9:]*>" + end,
			"ROOT LOGIN REFUSED FROM <addr>{| port <:[0-9]+>}" + end,
			"maximum authentication attempts exceeded for {invalid user |}<user:[^:]*> from <addr>" +
				" port <:[0-9]+> ssh<:[12]+>" + end,
			"Unable to negotiate with <addr>{| port <:[0-9]+>}: <:.*>",
			"Unable to negotiate a key exchange method with <addr><:[^0-9a-zA-Z]*>",
			"banner exchange: Connection from <addr> port <:[0-9]+>: <:.*>",
			"ssh_dispatch_run_fatal: Connection from {|invalid user <user:[^:]*> |authenticating user <user:[^:]*> }" +
				"<addr> port <:[0-9]+>: <:.*>",
			"Protocol major versions differ for <addr>{| port <:[0-9]+>}: <:.*>",
			"Bad protocol version identification '<:.*>' from <addr>{| port <:[0-9]+>}",
			"Did not receive identification string from <addr>{| port <:[0-9]+>}",
			"Timeout before authentication for <addr>{| port <:[0-9]+>}" + end,
			"Timeout before authentication for connection from <addr> to <:[0-9a-fA-F:.]+>{|, pid = <:[0-9]+>}",
			"drop connection #<:[0-9]+> from [<addr>]:<:[0-9]+> on [<:[^\\]]*>]:<:[0-9]+> penalty: <:.*>",
			"refusing previously-disconnected connection from <addr>{| port <:[0-9]+>}",
			pam + "(sshd:auth): {authentication failure|<:[0-9]+> more authentication failure|" +
				"<:[0-9]+> more authentication failures}; logname=<:[^ ]*> uid=<:[0-9]*> euid=<:[0-9]*> " +
				"tty=<:[^ ]*> ruser=<:[^ ]*> rhost=<addr>{|  user=<user:.*>| <:.*>}",
			"PAM <:[0-9]+> more authentication {failure|failures}; logname=<:[^ ]*> uid=<:[0-9]*> euid=<:[0-9]*> " +
				"tty=<:[^ ]*> ruser=<:[^ ]*> rhost=<addr>{|  user=<user:.*>| <:.*>}",
		},
		ends: []string{
			"{Connection closed by|Connection reset by|Disconnected from} {invalid|authenticating} user " +
				"<user:[^:]*> <addr> port <:[0-9]+>" + end,
			"{Connection closed by|Connection reset by|Disconnected from} <addr>{| port <:[0-9]+>} \\[preauth]",
			"Disconnecting {invalid|authenticating} user <user:[^:]*> <addr> port <:[0-9]+>: <:.*>",
			"Disconnecting <addr>{| port <:[0-9]+>}: <:.*>",
			"Received disconnect from <addr>{: | port <:[0-9]+>:}{3|14}: <:.*>",
			"Received disconnect from <addr>{: | port <:[0-9]+>:}<:[0-9]+>: <:.*> \\[preauth]",
		},
		success: []string{
			"Accepted {password|publickey|keyboard-interactive/pam|keyboard-interactive|hostbased|gssapi-with-mic" +
				"|gssapi-keyex|none} for <user:[^:]*> from <addr> port <:[0-9]+>{| ssh<:[12]+>| ssh<:[12]+>: <:.*>}",
			"Accepted <:[a-z/-]+> for <user:[^:]*> from <addr> port <:[0-9]+>{| ssh<:[12]+>| ssh<:[12]+>: <:.*>}",
		},
		other: []string{
			"Failed {publickey|none} for <user:[^:]*> from <addr> port <:[0-9]+> ssh<:[12]+>{|: <:.*>}",
			"Connection from <addr> port <:[0-9]+>{| on <:.*>}",
			"Received disconnect from <addr>{: | port <:[0-9]+>:}11: disconnected by user",
			"Disconnected from user <user:[^:]*> <addr> port <:[0-9]+>",
			"drop connection #<:[0-9]+> from [<addr>]:<:[0-9]+> on [<:[^\\]]*>]:<:[0-9]+> past MaxStartups",
		},
	}, {
		name: "dropbear", longest: cutAt, programs: []string{"dropbear"},
		failure: []string{
			"Login attempt for nonexistent user from <addr>:<:[0-9]+>",
			"Login attempt for nonexistent user '<user:.*>' from <addr>:<:[0-9]+>",
			"Login attempt with wrong user '<user:.*>' from <addr>:<:[0-9]+>",
			"{Bad|bad} {password|PAM password} attempt for '<user:.*>' from <addr>:<:[0-9]+>",
			"{Exit|exit} before auth from \\<<addr>:<:[0-9]+>\\>: <:.*>",
			"User '<user:.*>' has invalid shell, rejected from <addr>:<:[0-9]+>",
		},
		success: []string{
			"{Password|PAM password} auth succeeded for '<user:.*>' from <addr>:<:[0-9]+>",
			"Pubkey auth succeeded for '<user:.*>' with <:.*> from <addr>:<:[0-9]+>",
		},
		other: []string{"Child connection from <addr>:<:[0-9]+>"},
	}, {
		name: "vsftpd", longest: cutAt, programs: []string{"vsftpd"},
		failure: []string{
			"<:[A-Z0-9a-z: ]+>[pid <:[0-9]+>] [<user:.*>] FAIL LOGIN: Client \"<addr>\"",
			"[<user:.*>] FAIL LOGIN: Client \"<addr>\"",
			pam + "(vsftpd:auth): authentication failure; logname=<:[^ ]*> uid=<:[0-9]*> euid=<:[0-9]*> " +
				"tty=<:[^ ]*> ruser=<user:.*> rhost=<addr>{| <:.*>}",
		},
		success: []string{"<:[A-Z0-9a-z: ]+>[pid <:[0-9]+>] [<user:.*>] OK LOGIN: Client \"<addr>\""},
	}, {
		name: "proftpd", longest: cutAt, programs: []string{"proftpd"},
		failure: []string{
			"{|<:[^ ]+> }(<:[A-Za-z0-9._:-]+>[<addr>]){: | - |: - }USER <:.*>: no such user<:.*>",
			"{|<:[^ ]+> }(<:[A-Za-z0-9._:-]+>[<addr>]){: | - |: - }USER <:.*> (Login failed)<:.*>",
			"{|<:[^ ]+> }(<:[A-Za-z0-9._:-]+>[<addr>]){: | - |: - }SECURITY VIOLATION: <:.*>",
			"{|<:[^ ]+> }(<:[A-Za-z0-9._:-]+>[<addr>]){: | - |: - }Maximum login attempts (<:[0-9]+>) exceeded<:.*>",
		},
	}}
}
