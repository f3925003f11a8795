package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Problem (错误响应) is the body of every response that is not a result. Error is the whole text; Op, Object and Detail are its
// parts, so that a client can rebuild the error. A refusal that depends on data has Code and nothing else.
type Problem struct {
	Error   string           `json:"error"`
	Kind    sandbox.Kind     `json:"kind"`
	Code    string           `json:"code,omitempty"`
	Op      string           `json:"op,omitempty"`
	Object  string           `json:"object,omitempty"`
	Detail  string           `json:"detail,omitempty"`
	Hint    string           `json:"hint,omitempty"`
	Reasons []sandbox.Reason `json:"reasons,omitempty"`
}

// Status gives the HTTP status of a kind of error.
func Status(k sandbox.Kind) int {
	switch k {
	case sandbox.Invalid:
		return http.StatusBadRequest
	case sandbox.Unsigned:
		return http.StatusUnauthorized
	case sandbox.Denied:
		return http.StatusForbidden
	case sandbox.NotFound:
		return http.StatusNotFound
	case sandbox.Conflict, sandbox.Withheld:
		return http.StatusConflict
	case sandbox.Expired:
		return http.StatusGone
	case sandbox.TooLarge:
		return http.StatusRequestEntityTooLarge
	case sandbox.Tampered:
		return http.StatusUnprocessableEntity
	case sandbox.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// problem writes an error down for a caller. Only the parts of *sandbox.Error are repeated: their authors promise no
// values, other libraries do not. Internal errors are named, not described; withheld ones are one code.
func problem(err error) Problem {
	kind := sandbox.KindOf(err)
	switch kind {
	case sandbox.Withheld:
		return Problem{Error: sandbox.CodeWithheld, Kind: kind, Code: sandbox.CodeWithheld}
	case sandbox.Internal, sandbox.Passphrase:
		return Problem{Error: "internal error", Kind: sandbox.Internal, Hint: "the domain's own log says more; try again"}
	}
	var e *sandbox.Error
	if !errors.As(err, &e) {
		return Problem{Error: string(kind), Kind: kind}
	}
	own := sandbox.Error{Op: e.Op, Kind: kind, Object: e.Object, Detail: e.Detail, Hint: e.Hint}
	for e.Err != nil {
		var inner *sandbox.Error
		if !errors.As(e.Err, &inner) {
			break
		}
		text := sandbox.Error{Op: inner.Op, Kind: inner.Kind, Object: inner.Object, Detail: inner.Detail}
		own.Detail = strings.TrimPrefix(own.Detail+": "+text.Error(), ": ")
		if own.Hint == "" {
			own.Hint = inner.Hint
		}
		e = inner
	}
	if kind == sandbox.NotFound && own.Detail == "" && own.Hint == "" {
		own = absent(own)
	}
	p := Problem{Error: own.Error(), Kind: kind, Op: own.Op, Object: own.Object, Detail: own.Detail, Hint: own.Hint}
	var d *denial
	if errors.As(err, &d) {
		p.Reasons = []sandbox.Reason{d.reason}
	}
	return p
}

// absent says the same of what does not exist and of what belongs to another, and names no operation of the inside.
func absent(e sandbox.Error) sandbox.Error {
	return sandbox.Error{Op: "find", Kind: sandbox.NotFound, Object: e.Object[strings.LastIndexByte(e.Object, ' ')+1:], Detail: "nothing of this name that you may see",
		Hint: "see what there is: opdomain catalog list, grant list, query list, release list"}
}

// denial carries the role table's reason beside the error it belongs to.
type denial struct {
	cause  *sandbox.Error
	reason sandbox.Reason
}

func (d *denial) Error() string { return d.cause.Error() }

func (d *denial) Unwrap() error { return d.cause }

// Failure (失败) rebuilds the error a response carries; nil for a status below 300. It is what a client calls on the status
// and body of every response.
func Failure(status int, body []byte) error {
	if status < 300 {
		return nil
	}
	var p Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Kind == "" {
		return &sandbox.Error{Op: "domain", Kind: sandbox.Unavailable, Detail: "answered " + http.StatusText(status) + " without a problem document",
			Hint: "check that the address is a domain's"}
	}
	if p.Op == "" {
		return &sandbox.Error{Op: "domain", Kind: p.Kind, Detail: p.Error, Hint: p.Hint}
	}
	return &sandbox.Error{Op: p.Op, Kind: p.Kind, Object: p.Object, Detail: p.Detail, Hint: p.Hint}
}
