package console

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Reviewer (审核员会话) is one identity that reads reviews and signs decisions. Digest and state are those the page showed: what is
// about another is Conflict.
type Reviewer interface {
	Reviews(ctx context.Context) ([]api.Review, error)
	Review(ctx context.Context, id sandbox.QuestionID) (api.Review, error)
	Decide(ctx context.Context, d Decision) (api.Review, error)
}

// Decision (审核决定) is what a reviewer confirmed on a page.
type Decision struct {
	Question sandbox.QuestionID
	Digest   []byte
	State    string
	Approve  bool        // of a vote
	Act      egress.Move // instead of a vote
	Reason   string
}

// Desk (审核台) serves the pages of one reviewer; see the package.
type Desk struct {
	by    Reviewer
	who   sandbox.Identity
	host  string
	key   string // of the browser
	token string // of forms
}

const cookieName = "opdomain-desk"

// maxForm bounds a decision's form in bytes.
const maxForm = 16 << 10

// NewDesk makes a desk for the address its listener has, which must be a loopback address.
func NewDesk(by Reviewer, who sandbox.Identity, at net.Addr, rand io.Reader) (*Desk, error) {
	tcp, ok := at.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return nil, &sandbox.Error{Op: "desk", Kind: sandbox.Denied, Object: "address", Detail: "pages are served on a loopback address only", Hint: "e.g. 127.0.0.1:0"}
	}
	var b [32]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return nil, &sandbox.Error{Op: "desk", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return &Desk{by: by, who: who, host: tcp.String(), key: hex.EncodeToString(b[:16]), token: hex.EncodeToString(b[16:])}, nil
}

// Address gives the address to open, with the key that lets a browser in.
func (d *Desk) Address() string { return "http://" + d.host + "/?key=" + d.key }

// ServeHTTP answers one request of the browser.
func (d *Desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	if r.Host != d.host { // another name that leads here
		http.Error(w, "unknown host", http.StatusMisdirectedRequest)
		return
	}
	if r.Method == http.MethodGet && r.URL.Path == "/" && same(r.URL.Query().Get("key"), d.key) {
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: d.key, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		// No redirect: a browser that comes from elsewhere follows it without a strict cookie.
		d.list(w, r)
		return
	}
	if c, err := r.Cookie(cookieName); err != nil || !same(c.Value, d.key) {
		http.Error(w, "open the address that the program printed", http.StatusForbidden)
		return
	}
	id, isReview := bytes.CutPrefix([]byte(r.URL.Path), []byte("/review/"))
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/":
		d.list(w, r)
	case r.Method == http.MethodGet && isReview && sandbox.CheckID("question", string(id)) == nil:
		d.show(w, r, sandbox.QuestionID(id))
	case r.Method == http.MethodPost && r.URL.Path == "/decide":
		d.decide(w, r)
	default:
		http.Error(w, "no such page", http.StatusNotFound)
	}
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func (d *Desk) list(w http.ResponseWriter, r *http.Request) {
	all, err := d.by.Reviews(r.Context())
	if err != nil {
		failed(w, err)
		return
	}
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "list.html", map[string]any{"Style": style(), "Who": d.who.ID, "Reviews": all}); err != nil {
		failed(w, err)
		return
	}
	_, _ = w.Write(b.Bytes()) // the browser's to ask again
}

func (d *Desk) show(w http.ResponseWriter, r *http.Request, id sandbox.QuestionID) {
	v, err := d.by.Review(r.Context(), id)
	if err != nil {
		failed(w, err)
		return
	}
	d.write(w, v, "")
}

func (d *Desk) write(w http.ResponseWriter, v api.Review, said string) {
	var b bytes.Buffer
	if err := page(&b, v, d.form(v), said); err != nil {
		failed(w, err)
		return
	}
	_, _ = w.Write(b.Bytes())
}

// form is what this reviewer may be able to decide in this state; the domain judges it.
func (d *Desk) form(v api.Review) *form {
	f := &form{Token: d.token, Confirm: string(d.who.ID)}
	state := egress.State(v.State)
	reviewer := d.who.Duty == sandbox.Reviewer
	f.Vote = reviewer && state.Open()
	f.Return = reviewer && (state == egress.InReview || state == egress.Partial) || !reviewer && (state == egress.Conflicted || state == egress.Quarantined)
	f.Lead = !reviewer && state == egress.Conflicted
	if !f.Vote && !f.Return && !f.Lead {
		return nil
	}
	return f
}

func (d *Desk) decide(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	origin, err := url.Parse(r.Header.Get("Origin"))
	if err != nil || origin.Scheme != "http" || origin.Host != d.host {
		http.Error(w, "a decision is sent by this desk's own page", http.StatusForbidden)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "not a form", http.StatusBadRequest)
		return
	}
	f := r.PostForm
	if !same(f.Get("token"), d.token) {
		http.Error(w, "a decision is sent by this desk's own page", http.StatusForbidden)
		return
	}
	if f.Get("confirmed") != "yes" {
		failed(w, &sandbox.Error{Op: "desk", Kind: sandbox.Invalid, Object: "confirmation", Detail: "tick that you have read what would leave 请勾选确认"})
		return
	}
	x := Decision{Question: sandbox.QuestionID(f.Get("question")), State: f.Get("state"), Reason: f.Get("reason")}
	digest, err := hex.DecodeString(f.Get("digest"))
	if err != nil || len(digest) != sm.Size && len(digest) != 0 || sandbox.CheckID("question", string(x.Question)) != nil {
		http.Error(w, "not this desk's form", http.StatusBadRequest)
		return
	}
	x.Digest = digest
	switch f.Get("decision") {
	case "approve":
		x.Approve = true
	case "refuse":
	case "return":
		x.Act = egress.Return
	case "lead-approve":
		x.Act = egress.Approve
	case "reject":
		x.Act = egress.Reject
	default:
		http.Error(w, "no such decision", http.StatusBadRequest)
		return
	}
	v, err := d.by.Decide(r.Context(), x)
	if err != nil {
		failed(w, err)
		return
	}
	d.write(w, v, "已签名并送达 signed and counted: "+v.State)
}

// failed shows an error of the domain, which names rules and no values.
func failed(w http.ResponseWriter, err error) {
	status, text := http.StatusBadGateway, "the domain cannot be asked"
	var e *sandbox.Error
	if errors.As(err, &e) {
		status, text = http.StatusConflict, e.Error()
		if e.Hint != "" {
			text += " — " + e.Hint
		}
	}
	http.Error(w, text, status)
}
