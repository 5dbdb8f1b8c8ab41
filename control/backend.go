// Package control is the contract between paraxiald and those who drive it:
// wire types, and an HTTP/JSON server and client over a Unix socket. The server
// learns who calls from the kernel (SO_PEERCRED) and hands requests whose form
// it has checked to a Backend.
package control

import (
	"context"
	"fmt"
	"io"
)

// Caller is the process at the other end of the socket, as it was when it
// connected.
type Caller struct {
	UID, GID uint32
	PID      int32
}

// Author returns the caller as entries record it: "uid:1000".
func (c Caller) Author() string { return fmt.Sprintf("uid:%d", c.UID) }

// Backend does what the server is asked for. All methods are called from
// several goroutines at once. An *Error in the chain of a returned error
// decides the code that the client sees; any other error is an internal one.
//
// A method that yields returns yield's error when there is one.
type Backend interface {
	Status(context.Context) (Status, error)
	Stats(context.Context) (Stats, error)
	Detectors(context.Context) (DetectorsStatus, error)
	Top(context.Context) (TopResult, error)
	Block(context.Context, Caller, BlockRequest) (ChangeResult, error)
	// Preview tells what Block would do, and does nothing.
	Preview(context.Context, Caller, BlockRequest) (PreviewResult, error)
	Allow(context.Context, Caller, AllowRequest) (ChangeResult, error)
	Unblock(context.Context, Caller, UnblockRequest) (RemoveResult, error)
	Unallow(context.Context, Caller, UnallowRequest) (RemoveResult, error)
	Promote(context.Context, Caller, PromoteRequest) (ChangeResult, error)
	Confirm(context.Context, Caller, ConfirmRequest) (ChangeResult, error)

	// Entries yields the entries in force, of one kind ("block" or "allow")
	// and origin, or of all where these are empty. yield may wait for a slow
	// reader, so no lock may be held while it runs.
	Entries(ctx context.Context, kind, origin string, yield func(Entry) error) error

	// Import makes list the whole set of blocks of r.Origin, or changes
	// nothing and returns an error, also when reading list fails midway. A
	// list with invalid lines, unless r.SkipInvalid, changes nothing either:
	// the result names the lines. progress is called from Import's goroutine.
	Import(ctx context.Context, c Caller, r ImportRequest, list io.Reader, progress func(ImportProgress)) (ImportResult, error)

	// Why tells what happens to packets from address.
	Why(ctx context.Context, address string) (WhyResult, error)

	// Watch yields events until ctx is done, and then returns nil or ctx's
	// error. For events that it could not keep for a slow reader it yields one
	// of type EventLost.
	Watch(ctx context.Context, yield func(Event) error) error

	// Detach takes the filter off all interfaces.
	Detach(context.Context, Caller) error
}
