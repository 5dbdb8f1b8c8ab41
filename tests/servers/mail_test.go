//go:build servers

package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func postfix() server {
	const port = 25
	return server{
		name: "postfix", tool: "postfix", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			conf := filepath.Join(dir, "conf")
			for _, d := range []string{conf, filepath.Join(dir, "spool"), filepath.Join(dir, "data")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if out, err := exec.Command("chown", "postfix", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
				t.Fatalf("chown: %v\n%s", err, out)
			}
			write(t, conf, "main.cf", fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
maillog_file = %[1]s/log
maillog_file_prefixes = /run
inet_interfaces = %[2]s
inet_protocols = ipv4
myhostname = web1.example
mydestination = web1.example
smtpd_delay_reject = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_error_sleep_time = 0
alias_maps =
local_recipient_maps =
`, dir, host))
			write(t, conf, "master.cf", `smtp inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
qmgr unix n - n 300 1 qmgr
proxymap unix - - n - - proxymap
`)
			return exec.Command("postfix", "-c", conf, "start-fg")
		},
		attack: func(t *testing.T, _, name string) {
			// An address in angle brackets holds no line end and no bracket.
			address := strings.NewReplacer("<", "", ">", "").Replace(oneLine(name))
			talk(t, port, "EHLO "+oneLine(name)+"\r\n", "MAIL FROM:<\""+address+"\"@example.org>\r\n",
				"RCPT TO:<\""+address+"\"@example.net>\r\n", "NOOP\r\n")
			talk(t, port, oneLine(name)+"\r\n", "QUIT\r\n")
			talk(t, port, "EHLO a\r\n", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<"+address+"@example.net>\r\n",
				"QUIT\r\n")
		},
		logs: []logOf{{format: "postfix", file: "log", plain: 5}},
	}
}
