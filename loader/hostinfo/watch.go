package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is the time to wait for the rest of a burst of changes.
	settle = 200 * time.Millisecond
	// settleLinks is short, because an interface may be unprotected.
	settleLinks = 20 * time.Millisecond
	// resubscribe is the pause after a failed subscription.
	resubscribe = time.Second
)

// Watch calls f once it is watching, and then after changes of addresses, routes or
// interfaces, once for a burst of changes. It does so until ctx is done, and returns the
// error of ctx. If announcements are lost, it calls f too.
func Watch(ctx context.Context, f func()) error {
	return watch(ctx, settle, f, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
}

// WatchLinks is like Watch for interfaces only, with a shorter delay.
func WatchLinks(ctx context.Context, f func()) error {
	return watch(ctx, settleLinks, f, unix.RTNLGRP_LINK)
}

// watch fails only if the first subscription fails. Later ones are retried until they
// succeed. Then f is called, because changes may have been missed.
func watch(ctx context.Context, settle time.Duration, f func(), groups ...uint) error {
	sock, err := nl.Subscribe(unix.NETLINK_ROUTE, groups...)
	if err != nil {
		return fmt.Errorf("watch the network: %w", err)
	}
	changes := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if sock != nil {
				poke(changes)
				receive(ctx, sock, changes)
			}
			if !pause(ctx, resubscribe) {
				return
			}
			if sock, err = nl.Subscribe(unix.NETLINK_ROUTE, groups...); err != nil {
				sock = nil
			}
		}
	}()
	call(ctx, settle, changes, f)
	<-done
	return ctx.Err()
}

// call calls f when a burst of changes has settled.
func call(ctx context.Context, settle time.Duration, changes <-chan struct{}, f func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		if !pause(ctx, settle) {
			return
		}
		select {
		case <-changes:
		default:
		}
		f()
	}
}

// receive reads from sock until ctx is done or a read fails, and closes it. It does not parse
// the changes, because f reads everything again.
func receive(ctx context.Context, sock *nl.NetlinkSocket, changes chan<- struct{}) {
	stop := context.AfterFunc(ctx, sock.Close)
	defer func() {
		if stop() {
			sock.Close()
		}
	}()
	for {
		_, _, err := sock.Receive()
		// ENOBUFS means that announcements were lost. The socket can still be used.
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		poke(changes)
	}
}

func poke(changes chan<- struct{}) {
	select {
	case changes <- struct{}{}:
	default:
	}
}

// pause waits for d. It returns false if ctx is done earlier.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// serverInterval is the time between two looks for a change of servers and tunnels. The files of
// other programs, and the peers of a tunnel, change without an announcement of the kernel.
const serverInterval = time.Second

// Mark notes the present resolvers, other servers and tunnels, for WatchServers.
func (r *Reader) Mark() {
	now := r.outside(DefaultResolvConf())
	r.marking.Lock()
	defer r.marking.Unlock()
	r.marked = now
}

// WatchServers calls f while the resolvers, other servers and tunnels are not those that Mark noted
// last, until ctx is done. It returns the error of ctx. f has to call Mark before it reads the
// facts: then it does not matter who else reads them, and when.
func (r *Reader) WatchServers(ctx context.Context, f func()) error {
	for pause(ctx, serverInterval) {
		now := r.outside(DefaultResolvConf())
		r.marking.Lock()
		changed := !reflect.DeepEqual(now, r.marked)
		r.marking.Unlock()
		if changed {
			f()
		}
	}
	return ctx.Err()
}

// outside returns the facts about other hosts that WatchServers compares.
func (r *Reader) outside(resolvConf []string) (f Facts) {
	var problems []string
	var err error
	f.Resolvers, f.Problems, err = r.files.Resolvers(resolvConf)
	f.Servers, problems = r.servers()
	networkErr := r.network.outside(&f)
	f.Problems = append(f.Problems, problems...)
	if err := errors.Join(err, networkErr); err != nil {
		f.Problems = append(f.Problems, err.Error())
	}
	return f
}
