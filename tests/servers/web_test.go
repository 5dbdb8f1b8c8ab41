//go:build servers

package servers

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func nginx() server {
	const port = 80
	return server{
		name: "nginx", tool: "nginx", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			passwords := write(t, dir, "passwords", "bob:{PLAIN}secret\n")
			conf := write(t, dir, "conf", fmt.Sprintf(`daemon off;
pid %[1]s/pid;
error_log %[1]s/error.log;
events {}
http {
	log_format json escape=json '{"remote_addr":"$remote_addr","status":"$status","request":"$request",'
		'"remote_user":"$remote_user","host":"$host","http_user_agent":"$http_user_agent"}';
	access_log %[1]s/access.log combined;
	access_log %[1]s/json.log json;
	server {
		listen %[2]s:%[3]d;
		root %[1]s/www;
		location /private { auth_basic a; auth_basic_user_file %[4]s; }
	}
}
`, dir, host, port, passwords))
			return exec.Command("nginx", "-c", conf)
		},
		attack: func(t *testing.T, _, name string) { browse(t, port, name) },
		logs: []logOf{
			{format: "nginx-access", file: "access.log", plain: 20},
			{format: "nginx-json", file: "json.log", plain: 20},
			{format: "nginx-error", file: "error.log", plain: 5},
		},
	}
}

func apache() server {
	const port = 8080
	return server{
		name: "apache", tool: "apache2", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			var modules strings.Builder
			for _, m := range []string{"mpm_event", "authn_core", "authn_file", "authz_core", "authz_user",
				"auth_basic"} {
				fmt.Fprintf(&modules, "LoadModule %[1]s_module /usr/lib/apache2/modules/mod_%[1]s.so\n", m)
			}
			if err := os.MkdirAll(filepath.Join(dir, "www"), 0o755); err != nil {
				t.Fatal(err)
			}
			passwords := write(t, dir, "passwords", "bob:$apr1$x$x\n")
			conf := write(t, dir, "conf", modules.String()+fmt.Sprintf(`ServerName web1
PidFile %[1]s/pid
DefaultRuntimeDir %[1]s
User www-data
Group www-data
Listen %[2]s:%[3]d
DocumentRoot %[1]s/www
ErrorLog %[1]s/error.log
CustomLog %[1]s/access.log "%%h %%l %%u %%t \"%%r\" %%>s %%O \"%%{Referer}i\" \"%%{User-Agent}i\""
<Location "/private">
	AuthType Basic
	AuthName a
	AuthUserFile %[4]s
	Require valid-user
</Location>
`, dir, host, port, passwords))
			return exec.Command("apache2", "-D", "FOREGROUND", "-f", conf)
		},
		attack: func(t *testing.T, _, name string) { browse(t, port, name) },
		logs: []logOf{
			{format: "apache-access", file: "access.log", plain: 20},
			{format: "apache-error", file: "error.log", plain: 5},
		},
	}
}

func haproxy() server {
	const port = 81
	return server{
		name: "haproxy", tool: "haproxy", port: port,
		start: func(t *testing.T, dir string) *exec.Cmd {
			receive(t, filepath.Join(dir, "socket"), filepath.Join(dir, "log"))
			return exec.Command("haproxy", "-db", "-f", write(t, dir, "conf", fmt.Sprintf(`global
	log %[1]s/socket len 4096 format rfc3164 local0
defaults
	mode http
	log global
	option httplog
	timeout client 10s
	timeout connect 10s
	timeout server 10s
frontend web
	bind %[2]s:%[3]d
	capture request header User-Agent len 300
	capture request header Referer len 300
	http-request deny
`, dir, host, port)))
		},
		attack: func(t *testing.T, _, name string) { browse(t, port, name) },
		logs:   []logOf{{format: "haproxy", file: "log", plain: 20}},
	}
}

// receive writes the datagrams of a socket to a file, a line each, as a syslog daemon does.
func receive(t *testing.T, socket, file string) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); out.Close() }) // ends the goroutine
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			fmt.Fprintf(out, "%s\n", strings.TrimRight(string(buf[:n]), "\n"))
		}
	}()
}

// browse sends the name as user, path, query, host, referrer and agent, in a request each and
// in one together.
func browse(t *testing.T, port int, name string) {
	name = oneLine(name)
	path := strings.NewReplacer(" ", "%20", "#", "%23").Replace(name)
	user := base64.StdEncoding.EncodeToString([]byte(name + ":x"))
	for _, r := range []string{
		"GET /private HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " + user,
		"GET /" + path + " HTTP/1.1\r\nHost: a",
		"GET /none?" + path + " HTTP/1.1\r\nHost: a\r\nReferer: " + name + "\r\nUser-Agent: " + name,
		"GET /none HTTP/1.1\r\nHost: " + name,
		"GET /" + name + " HTTP/1.1\r\nHost: a",
		"GET /private/" + path + " HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " + user + "\r\nReferer: " + name +
			"\r\nUser-Agent: " + name + "\r\nX-Forwarded-For: " + stranger,
	} {
		conn, err := dial(port)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(conn, r+"\r\nConnection: close\r\n\r\n") // a server may refuse it in the middle
		io.Copy(io.Discard, conn)                               // until the server has answered
		conn.Close()
	}
}
