package report

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The codes of errors, besides those that a Backend adds.
const (
	CodeInvalidRequest   = "invalid_request"
	CodeNotFound         = "not_found"
	CodeMethodNotAllowed = "method_not_allowed"
	CodeForbidden        = "forbidden"
	CodeTooLarge         = "too_large"
	CodeBusy             = "busy"
	CodeUnknown          = "unknown_generation" // the set must be put
	CodeBudget           = "budget"             // the reporter has used up what it may
	CodeUnproven         = "unproven"           // the event needs a proof
	CodeInternal         = "internal"
)

// Error is an error in the form that the socket returns.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Status  int    `json:"-"` // HTTP status
}

func (e *Error) Error() string { return e.Message }

// Is makes an error with CodeUnknown an ErrUnknown.
func (e *Error) Is(target error) bool { return target == ErrUnknown && e.Code == CodeUnknown }

// ErrUnknown is in the chain of the error of Renew and Change if the set has to be put.
var ErrUnknown = errors.New("the set is not of that generation")

// Errorf returns an error with one of the codes above, or another one for an event or ban that
// is refused.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: statusOf(code)}
}

// statusOf returns the HTTP status of a code.
func statusOf(code string) int {
	switch code {
	case CodeInvalidRequest:
		return http.StatusBadRequest
	case CodeNotFound:
		return http.StatusNotFound
	case CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case CodeForbidden, CodeUnproven:
		return http.StatusForbidden
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeBudget:
		return http.StatusTooManyRequests
	case CodeBusy:
		return http.StatusServiceUnavailable
	case CodeUnknown:
		return http.StatusConflict
	case CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusUnprocessableEntity
}

func invalid(format string, args ...any) error { return Errorf(CodeInvalidRequest, format, args...) }

// wireError returns err as the reporter sees it.
func wireError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: e.Code, Message: err.Error(), Status: e.Status}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Errorf(CodeTooLarge, "body: longer than %d MiB", tooLarge.Limit>>20)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Errorf(CodeBusy, "the daemon could not answer in time: %v; try again", err)
	}
	return Errorf(CodeInternal, "%v", err)
}

// envelope is the wire form of an error.
type envelope struct {
	Error *Error `json:"error"`
}

// codeOf returns the code of an error that has one.
func codeOf(err error) string {
	e, _ := errors.AsType[*Error](err)
	if e == nil {
		return ""
	}
	return e.Code
}
