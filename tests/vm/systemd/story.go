package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A story is the sequence of steps on one machine.
type story struct {
	ctx  context.Context
	m    *machine
	rest time.Duration // time left of the block at the last check
}

// tell boots a system and runs the life cycle of the package on it.
func tell(ctx context.Context, s system, dir string) error {
	start := time.Now()
	m, err := boot(ctx, s, dir)
	if err != nil {
		return err
	}
	defer m.close()
	fmt.Printf("ok  %5.1fs  boot\n", time.Since(start).Seconds())
	t := &story{ctx: ctx, m: m}
	for _, chapter := range []struct {
		name string
		does func() error
	}{
		{"install: enables nothing, and says how to go on", t.install},
		{"enable: systemd knows that it is ready and what it does", t.enable},
		{"block: blocked sources are dropped, others pass", t.block},
		{"unit: sandbox, reload, watchdog", t.unit},
		{"kill -9: nothing slips through, systemd starts it again", t.kill},
		{"reboot: nothing slips through, with less time to go", t.reboot},
		{"upgrade: nothing slips through, configuration and block are kept", t.upgrade},
		{"remove: detaches, and keeps what purge removes", t.remove},
		{"log: no warnings of the kernel", t.kernelLog},
	} {
		start := time.Now()
		if err := chapter.does(); err != nil {
			return fmt.Errorf("%s: %w", chapter.name, err)
		}
		fmt.Printf("ok  %5.1fs  %s\n", time.Since(start).Seconds(), chapter.name)
	}
	return nil
}

// must runs a command that has to succeed.
func (t *story) must(command string) (string, error) { return t.m.run(t.ctx, command) }

// all runs commands until one fails.
func (t *story) all(commands ...string) error {
	for _, c := range commands {
		if _, err := t.must(c); err != nil {
			return err
		}
	}
	return nil
}

// expect runs a command whose output must contain a text.
func (t *story) expect(command, text string) error {
	out, err := t.must(command)
	if err == nil && !strings.Contains(out, text) {
		err = fmt.Errorf("%q printed %q, and not %q", command, out, text)
	}
	return err
}

// refuses runs a command that must fail.
func (t *story) refuses(command string) error {
	out, err := t.must(command)
	var status errStatus
	if errors.As(err, &status) {
		return nil
	}
	if err == nil {
		return fmt.Errorf("%q succeeded: %s", command, out)
	}
	return err
}

func (t *story) install() error {
	if err := t.all("mkdir -p /mnt/packages", "mount -o ro /dev/vdb /mnt/packages"); err != nil {
		return err
	}
	if err := t.expect("dpkg -i /mnt/packages/old.deb", "systemctl enable --now paraxiald"); err != nil {
		return err
	}
	return errors.Join(
		t.refuses("systemctl is-enabled paraxiald"),
		t.refuses("systemctl is-active paraxiald"),
		t.refuses("ip link show eth0 | grep xdp"),
		t.expect("getent group paraxial", "paraxial"),
		t.all("systemd-analyze verify --man=no paraxiald.service"),
	)
}

func (t *story) enable() error {
	err := t.all(
		"printf 'interfaces:\\n  - name: eth0\\n' > /etc/paraxial/paraxiald.yaml",
		"paraxiald check --config /etc/paraxial/paraxiald.yaml",
		"systemctl enable --now paraxiald || { systemctl status paraxiald; journalctl -u paraxiald; exit 1; }",
	)
	if err != nil {
		return err
	}
	return errors.Join(
		t.expect("systemctl show -p ActiveState paraxiald", "=active"),
		t.expect("systemctl show -p StatusText paraxiald", "eth0"),
		t.protected(),
	)
}

// protected checks that the daemon reports the network card as protected.
func (t *story) protected() error {
	out, err := t.must("paraxialctl status -o json")
	if err != nil {
		return err
	}
	var status struct {
		Interfaces []struct {
			Name, Mode string
			Protected  bool
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("read the status: %w", err)
	}
	if i := status.Interfaces; len(i) != 1 || i[0].Name != "eth0" || !i[0].Protected || i[0].Mode != "native" {
		return fmt.Errorf("eth0 is not protected natively: %s", out)
	}
	return nil
}

const blockTime = 2 * time.Hour

func (t *story) block() error {
	if _, err := t.must(fmt.Sprintf("paraxialctl block %s %s --for %s", blocked4, blocked6, blockTime)); err != nil {
		return err
	}
	t.rest = blockTime
	return t.underFlood(func() error { return nil })
}

// underFlood calls do while blocked sources send, of which nothing may arrive; after that,
// everything that other sources send must arrive.
func (t *story) underFlood(do func() error) error {
	before, err := t.m.received(t.ctx)
	if err != nil {
		return err
	}
	stop, err := startFlood(t.ctx, t.m)
	if err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	err = do()
	time.Sleep(500 * time.Millisecond)
	sent, floodErr := stop()
	if err := errors.Join(err, floodErr); err != nil {
		return err
	}
	return t.nothingSlipped(before, sent)
}

// nothingSlipped checks that none of the sent packets reached the stack since the counters were
// read, and then that the counters do count packets that arrive.
func (t *story) nothingSlipped(before stack, sent int) error {
	after, err := t.m.received(t.ctx)
	if err != nil {
		return err
	}
	if after != before {
		return fmt.Errorf("of %d blocked packets %d IPv4 and %d IPv6 ones got through", sent, after.ipv4-before.ipv4,
			after.ipv6-before.ipv6)
	}
	const n = 50
	if err := sendClean(t.m, n); err != nil {
		return err
	}
	fmt.Printf("              %d blocked packets sent, 0 arrived; %d others sent and arrived\n", sent, 2*n)
	return t.m.arrive(t.ctx, before, n)
}

// worst is the highest exposure of the unit that systemd-analyze may report.
const worst = 2.5

func (t *story) unit() error {
	out, err := t.must("systemd-analyze security --no-pager paraxiald | tail -1")
	if err != nil {
		return err
	}
	_, exposure, _ := strings.Cut(out, "paraxiald.service: ")
	exposure, _, _ = strings.Cut(exposure, " ")
	if level, err := strconv.ParseFloat(exposure, 64); err != nil || level > worst {
		return fmt.Errorf("the exposure of the unit is unknown or above %v: %s", worst, out)
	}
	fmt.Println("              systemd-analyze security:", exposure)
	return errors.Join(
		t.expect("systemctl reload paraxiald && systemctl is-active paraxiald", "active"),
		t.refuses("systemctl show -p WatchdogUSec paraxiald | grep -e '=0$' -e infinity"),
	)
}

// again waits until the daemon is back after its end.
const again = `until paraxialctl status >/dev/null 2>&1; do
	[ $SECONDS -lt 300 ] || { systemctl status paraxiald; exit 1; }
	sleep .2
done`

func (t *story) kill() error {
	return t.underFlood(func() error {
		return t.all("systemctl kill -s KILL paraxiald", "sleep 1", again, "systemctl is-active paraxiald")
	})
}

func (t *story) reboot() error {
	stop, err := startFlood(t.ctx, t.m)
	if err != nil {
		return err
	}
	err = t.m.reboot(t.ctx)
	if err == nil {
		err = t.all(again,
			"until systemctl is-active multi-user.target; do [ $SECONDS -lt 300 ] || exit 1; sleep .2; done")
	}
	sent, floodErr := stop()
	if err := errors.Join(err, floodErr); err != nil {
		return err
	}
	// The counters started at the boot, so they cover all of it.
	if err := t.nothingSlipped(stack{}, sent); err != nil {
		return err
	}
	if err := t.lessTime(); err != nil {
		return err
	}
	return t.delay()
}

// lessTime checks that the block still ends at its original time.
func (t *story) lessTime() error {
	out, err := t.must("paraxialctl list -o json; date +%s")
	if err != nil {
		return err
	}
	end := strings.LastIndexByte(out, '\n')
	now, err := strconv.ParseInt(out[end+1:], 10, 64)
	if err != nil {
		return fmt.Errorf("read the time: %w", err)
	}
	var entries []struct {
		Prefix  string
		Expires time.Time
	}
	if err := json.Unmarshal([]byte(out[:end]), &entries); err != nil {
		return fmt.Errorf("read the list: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Prefix, blocked4.String()) {
			rest := e.Expires.Sub(time.Unix(now, 0))
			if rest <= 0 || rest >= t.rest {
				return fmt.Errorf("the block has %v left, %v at the last check", rest, t.rest)
			}
			t.rest = rest
			return nil
		}
	}
	return fmt.Errorf("%s is not on the list any more: %s", blocked4, out)
}

// delay reports how long after its network card the machine was protected.
func (t *story) delay() error {
	out, err := t.must(`stamp() { tr -d '[]' | awk '{ print $1 }'; }
up=$(journalctl -b -o short-monotonic --no-pager | grep -m1 -i 'eth0: .*\(Link UP\|Gained carrier\)' | stamp)
attached=$(journalctl -b -u paraxiald -o short-monotonic --no-pager | grep -m1 Started | stamp)
echo "$up $attached"`)
	if err != nil {
		return err
	}
	var up, ready float64
	if _, err := fmt.Sscan(out, &up, &ready); err != nil {
		return fmt.Errorf("read the times of the boot: %q: %w", out, err)
	}
	fmt.Printf("              network card up %.1f s after the kernel's start, "+
		"protected %.1f s after it: %.1f s later\n", up, ready, ready-up)
	return nil
}

func (t *story) upgrade() error {
	if _, err := t.must("mount -o ro /dev/vdb /mnt/packages"); err != nil { // not mounted after the reboot
		return err
	}
	before, err := t.must("paraxialctl stats -o json; paraxiald version")
	if err != nil {
		return err
	}
	err = t.underFlood(func() error {
		_, err := t.must("dpkg -i /mnt/packages/new.deb </dev/null")
		if err == nil {
			err = t.all(again)
		}
		return err
	})
	if err != nil {
		return err
	}
	after, err := t.must("paraxialctl stats -o json; paraxiald version")
	if err != nil {
		return err
	}
	if err := grew(before, after); err != nil {
		return err
	}
	return errors.Join(
		t.protected(),
		t.lessTime(),
		t.expect("cat /etc/paraxial/paraxiald.yaml", "name: eth0"),
		t.expect("systemctl is-enabled paraxiald", "enabled"),
	)
}

// grew checks that the counters continued and that the version has changed.
func grew(before, after string) error {
	var counts [2]struct {
		Interfaces []struct{ Packets uint64 }
	}
	var versions [2]string
	for i, out := range []string{before, after} {
		end := strings.LastIndexByte(out, '\n')
		versions[i] = out[end+1:]
		if err := json.Unmarshal([]byte(out[:end]), &counts[i]); err != nil || len(counts[i].Interfaces) != 1 {
			return fmt.Errorf("read the counters: %s", out)
		}
	}
	if versions[0] == versions[1] {
		return fmt.Errorf("the version is still %s", versions[0])
	}
	if counts[1].Interfaces[0].Packets <= counts[0].Interfaces[0].Packets {
		return fmt.Errorf("the counters did not continue: %+v, then %+v", counts[0], counts[1])
	}
	return nil
}

func (t *story) remove() error {
	if _, err := t.must("dpkg -r paraxial"); err != nil {
		return err
	}
	err := errors.Join(
		t.refuses("ip link show eth0 | grep xdp"),
		t.refuses("ls /sys/fs/bpf/paraxial"),
		t.all("test -e /var/lib/paraxial", "test -e /etc/paraxial/paraxiald.yaml"),
	)
	if err != nil {
		return err
	}
	// Now packets of blocked sources arrive, so it was Paraxial that kept them out.
	before, err := t.m.received(t.ctx)
	if err != nil {
		return err
	}
	frames, err := datagrams(blocked4, blocked6)
	if err != nil {
		return err
	}
	for _, b := range frames {
		if err := t.m.card.Send(b); err != nil {
			return err
		}
	}
	if err := t.m.arrive(t.ctx, before, 1); err != nil {
		return err
	}
	return errors.Join(
		t.all("dpkg -P paraxial"),
		t.refuses("test -e /var/lib/paraxial"),
		t.refuses("test -e /etc/paraxial"),
	)
}

func (t *story) kernelLog() error {
	return t.refuses("dmesg | grep -E 'WARNING:|BUG:|Oops|INFO: task .* blocked'")
}
