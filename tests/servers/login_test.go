//go:build servers

package servers

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const syslogHead = "Nov 29 08:00:01 web1 "

func sshd() server {
	const port = 22
	return server{
		name: "sshd", tool: "/usr/sbin/sshd", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			key(t, dir)
			if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
				t.Fatal(err)
			}
			return exec.Command("/usr/sbin/sshd", "-D", "-f", "/dev/null", "-h", filepath.Join(dir, "key"),
				"-E", filepath.Join(dir, "log"), "-o", "PidFile=none", "-o", "MaxStartups=100", "-p",
				strconv.Itoa(port))
		},
		attack: func(t *testing.T, dir, name string) { ssh(t, dir, name, port) },
		logs:   []logOf{{format: "sshd", file: "log", head: syslogHead + "sshd[7]: ", plain: 10}},
	}
}

// key makes a host key of sshd, once.
func key(t *testing.T, dir string) string {
	path := filepath.Join(dir, "key")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	return path
}

// ssh tries to log in, with a key that the server does not know.
func ssh(t *testing.T, dir, name string, port int) {
	cmd := exec.Command("ssh", "-F", "/dev/null", "-i", key(t, dir), "-o", "BatchMode=yes", "-o",
		"StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-b", client, "-p", strconv.Itoa(port),
		"-l", name, host, "true")
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("the server lets %q in:\n%s", name, out)
	}
}

func vsftpd() server {
	const port = 21
	return server{
		name: "vsftpd", tool: "vsftpd", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			empty := filepath.Join(dir, "empty")
			if err := os.Mkdir(empty, 0o755); err != nil {
				t.Fatal(err)
			}
			return exec.Command("vsftpd", write(t, dir, "conf", fmt.Sprintf(`listen=YES
background=NO
listen_address=%s
listen_port=%d
anonymous_enable=NO
local_enable=YES
xferlog_enable=YES
vsftpd_log_file=%s/log
secure_chroot_dir=%s
pam_service_name=vsftpd
delay_failed_login=0
max_login_fails=1
`, host, port, dir, empty)))
		},
		attack: func(t *testing.T, _, name string) {
			talk(t, port, "USER "+oneLine(name)+"\r\n", "PASS x\r\n")
		},
		logs: []logOf{{format: "vsftpd", file: "log", plain: 5}},
	}
}

func dovecot() server {
	const port = 143
	return server{
		name: "dovecot", tool: "dovecot", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			users := write(t, dir, "users", "bob:{PLAIN}secret::::::\n")
			return exec.Command("dovecot", "-F", "-c", write(t, dir, "conf", fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
listen = %[2]s
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_verbose = yes
auth_failure_delay = 0
mail_location = maildir:%[1]s/mail
service imap-login {
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = 0
  }
}
# Without it failed logins of an address are answered later and later.
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
passdb {
  driver = passwd-file
  args = %[4]s
}
userdb {
  driver = static
  args = uid=mail gid=mail home=%[1]s
}
`, dir, host, port, users)))
		},
		attack: func(t *testing.T, _, name string) {
			plain := base64.StdEncoding.EncodeToString([]byte("\x00" + strings.ReplaceAll(name, "\x00", " ") + "\x00x"))
			talk(t, port, "a AUTHENTICATE PLAIN "+plain+"\r\n", "b LOGOUT\r\n")
		},
		logs: []logOf{{format: "dovecot", file: "log", head: syslogHead + "dovecot: ", drop: 3, plain: 5}},
	}
}

// talk sends each command after an answer of the server.
func talk(t *testing.T, port int, commands ...string) {
	conn, err := dial(port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	for _, command := range commands {
		if !answered(answers) {
			return // the server has closed the connection
		}
		if _, err := conn.Write([]byte(command)); err != nil {
			return
		}
	}
	answered(answers)
}

// answered reads an answer of SMTP, FTP or IMAP. It returns false at the end of the connection.
func answered(r *bufio.Reader) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		if len(line) < 4 || line[3] != '-' { // "250-" is followed by more
			return true
		}
	}
}
