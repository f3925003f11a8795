package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// counted is a body that says how much of it was read.
type counted struct {
	io.Reader
	read int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += int64(n)
	return n, err
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("mark440305") }

// TestCoreBelievesNothing hands the Core calls that no honest front end would make. It runs none of them.
func TestCoreBelievesNothing(t *testing.T) {
	s := open(t)
	k := s.core()
	agency, unit := id(sandbox.Agency, sandbox.Officer), id(sandbox.Unit, sandbox.Officer)
	invoice := func() Call {
		return s.call("POST", "/v1/invoices", "application/json", `{"party":"p-1","month":"2026-03"}`, agency)
	}
	if a := k.Do(context.Background(), invoice()); a.Status != 201 {
		t.Fatal(a.Status, string(a.Body))
	}
	s.took()
	long := strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct {
		forge  func(*Call)
		status int
		part   string
	}{
		"route of an open operation":  {func(c *Call) { c.Route = "GET /healthz" }, 404, "no such operation"},
		"certificates of another":     {func(c *Call) { c.Peer = unit }, 401, "connection"},
		"a peer too long":             {func(c *Call) { c.Peer = sandbox.IdentityID(long) }, 413, "peer"},
		"route of another operation":  {func(c *Call) { c.Route = "POST /v1/questions" }, 404, "no such operation"},
		"no route":                    {func(c *Call) { c.Route = "" }, 404, "no such operation"},
		"open path, this route":       {func(c *Call) { c.Path = "/healthz" }, 404, "no such operation"},
		"path with dots":              {func(c *Call) { c.Path = "/v1/x/../invoices" }, 404, "no such operation"},
		"path with two slashes":       {func(c *Call) { c.Path = "//v1/invoices" }, 404, "no such operation"},
		"path with a query":           {func(c *Call) { c.Path = "/v1/invoices?a=b" }, 404, "no such operation"},
		"path with a host":            {func(c *Call) { c.Path = "http://h/v1/invoices" }, 404, "no such operation"},
		"path that is none":           {func(c *Call) { c.Path = "v1" }, 404, "no such operation"},
		"empty path":                  {func(c *Call) { c.Path = "" }, 404, "no such operation"},
		"path with a bad escape":      {func(c *Call) { c.Path = "/v1/%zz" }, 404, "no such operation"},
		"method in another case":      {func(c *Call) { c.Method = "post" }, 404, "no such operation"},
		"long path":                   {func(c *Call) { c.Path += "/" + long }, 413, "path"},
		"long query":                  {func(c *Call) { c.Query = long }, 413, "query"},
		"long method":                 {func(c *Call) { c.Method = long }, 413, "method"},
		"long authority":              {func(c *Call) { c.Authority = long }, 413, "authority"},
		"long content type":           {func(c *Call) { c.Fields.ContentType = long }, 413, "header field"},
		"long digest":                 {func(c *Call) { c.Fields.ContentDigest = long }, 413, "header field"},
		"long signature input":        {func(c *Call) { c.Fields.SignatureInput = long }, 413, "header field"},
		"long signature":              {func(c *Call) { c.Fields.Signature = long }, 413, "header field"},
		"query that was not signed":   {func(c *Call) { c.Query = "a=b" }, 401, "does not verify"},
		"authority of another domain": {func(c *Call) { c.Authority = "other.example" }, 401, "authority"},
		"no authority":                {func(c *Call) { c.Authority = "" }, 401, ""},
		"line break in a field":       {func(c *Call) { c.Fields.ContentType += "\r\nX: y" }, 401, ""},
		"no fields":                   {func(c *Call) { c.Fields = Fields{} }, 401, ""},
		"another body":                {func(c *Call) { c.Body = strings.NewReader(`{"party":"p-2","month":"2026-03"}`) }, 401, "not the one that was signed"},
		"no body":                     {func(c *Call) { c.Body = nil }, 401, "not the one that was signed"},
		"endless body":                {func(c *Call) { c.Body = endless{} }, 413, "at most 4 KiB"},
		"body that breaks off":        {func(c *Call) { c.Body = broken{io.ErrUnexpectedEOF} }, 400, "ended early"},
		"body with another's error":   {func(c *Call) { c.Body = broken{errors.New("mark440305")} }, 400, "ended early"},
		"body that panics":            {func(c *Call) { c.Body = panicking{} }, 500, "internal"},
	} {
		in := invoice()
		c.forge(&in)
		a := k.Do(context.Background(), in)
		if a.Status != c.status || !strings.Contains(string(a.Body), c.part) || strings.Contains(string(a.Body), "mark440305") || a.ContentType != "application/problem+json" {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
		if calls := s.took(); len(calls) != 0 {
			t.Errorf("%s: reached the service: %v", name, calls)
		}
	}
	if strings.Contains(s.logged(), "mark440305") {
		t.Error("the log repeats what a body said")
	}

	// a body is read only for a proven caller with the role, and no further than its bound
	for name, c := range map[string]struct {
		who  sandbox.IdentityID
		edit func(*Call)
		most int64
	}{
		"unsigned":      {agency, func(c *Call) { c.Fields.Signature = "" }, 0},
		"wrong role":    {unit, func(*Call) {}, 0},
		"bounded":       {agency, func(*Call) {}, 8 << 10},
		"no such route": {agency, func(c *Call) { c.Route = "" }, 0},
	} {
		in := s.call("POST", "/v1/invoices", "application/json", `{}`, c.who)
		body := &counted{Reader: endless{}}
		in.Body = body
		c.edit(&in)
		if a := k.Do(context.Background(), in); a.Status < 400 || body.read > c.most {
			t.Errorf("%s: %d after %d bytes were read", name, a.Status, body.read)
		}
	}
}

// TestCoreBoundsFrames: sealed frames end at the bound of the Core, whatever the front end lets through.
func TestCoreBoundsFrames(t *testing.T) {
	s := open(t)
	k := s.core()
	opening := []byte("opening")
	digest := sm.Sum(opening)
	s.opening = digest[:]
	var got int64
	s.receive = func(r io.Reader) (rep PushReport, err error) {
		got, err = io.Copy(io.Discard, r)
		return rep, err
	}
	push := func(body io.Reader) Answer {
		r := s.request("PUT", "/v1/pushes/r-1/frames", "application/vnd.opdomain.frames", "")
		if err := s.signers[id(sandbox.Unit, sandbox.Officer)].Sign(WithOpening(context.Background(), opening), r); err != nil {
			t.Fatal(err)
		}
		return k.Do(context.Background(), Call{Route: "PUT /v1/pushes/{run}/frames", Method: "PUT", Authority: r.Host, Path: "/v1/pushes/r-1/frames", Body: body,
			Fields: Fields{ContentType: r.Header.Get("Content-Type"), ContentDigest: r.Header.Get("Content-Digest"),
				SignatureInput: r.Header.Get("Signature-Input"), Signature: r.Header.Get("Signature")}})
	}
	if a := push(bytes.NewReader(make([]byte, 1000))); a.Status != 200 || got != 1000 {
		t.Errorf("%d %s after %d bytes", a.Status, a.Body, got)
	}
	if a := push(endless{}); a.Status != 413 || got > 1000 {
		t.Errorf("%d %s after %d bytes", a.Status, a.Body, got)
	}
}
