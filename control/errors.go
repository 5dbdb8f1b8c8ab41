package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The codes of errors. Scripts depend on them.
const (
	CodeInvalidRequest   = "invalid_request"    // the request is malformed
	CodeNotFound         = "not_found"          // no such path or object
	CodeMethodNotAllowed = "method_not_allowed" // the path needs another method
	CodeRefused          = "refused"            // the guard refuses; force overrides
	CodeHeld             = "held"               // the list would change too much; accept overrides
	CodeForbidden        = "forbidden"          // the caller may not do this
	CodeTooLarge         = "too_large"          // the request exceeds a limit
	CodeBusy             = "busy"               // try again later
	CodeStoreFailed      = "store_failed"       // the change could not be saved, and was not made
	CodeInternal         = "internal"           // a defect, or a kernel error
)

var statusOfCode = map[string]int{
	CodeInvalidRequest:   http.StatusBadRequest,
	CodeNotFound:         http.StatusNotFound,
	CodeMethodNotAllowed: http.StatusMethodNotAllowed,
	CodeRefused:          http.StatusConflict,
	CodeHeld:             http.StatusConflict,
	CodeForbidden:        http.StatusForbidden,
	CodeTooLarge:         http.StatusRequestEntityTooLarge,
	CodeBusy:             http.StatusServiceUnavailable,
	CodeStoreFailed:      http.StatusInternalServerError,
	CodeInternal:         http.StatusInternalServerError,
}

// Error is an error in the form that the API returns.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Status  int    `json:"-"` // HTTP status; 0 means the one of Code
}

func (e *Error) Error() string { return e.Message }

// Errorf returns an error with one of the codes above.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: statusOfCode[code]}
}

func invalid(format string, args ...any) *Error {
	return Errorf(CodeInvalidRequest, format, args...)
}

// wireError returns err as the client sees it. An error that wraps an *Error has
// the code of that, and its own message, which contains more.
func wireError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		out := &Error{Code: e.Code, Message: err.Error(), Status: e.Status}
		if out.Status == 0 {
			out.Status = statusOfCode[e.Code]
		}
		if out.Status == 0 {
			out.Status = http.StatusInternalServerError
		}
		return out
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLong(tooLarge.Limit)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Errorf(CodeBusy, "the daemon could not answer in time: %v; try again", err)
	}
	return Errorf(CodeInternal, "%v", err)
}

func errTooLong(limit int64) *Error {
	if limit == MaxBody {
		return Errorf(CodeTooLarge, "body: longer than %d MiB; use import for long lists", limit>>20)
	}
	return Errorf(CodeTooLarge, "body: longer than %d MiB", limit>>20)
}
