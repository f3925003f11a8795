package witness

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of a request. SPEC: C2SP tlog-witness, at most 63 lines of proof.
const (
	maxProof = 63
	maxBody  = 128 << 10
)

// request is the body of add-checkpoint.
type request struct {
	old   uint64
	proof [][]byte
	note  tlog.Note
}

// String gives its one form.
func (r request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", r.old)
	for _, h := range r.proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h) + "\n")
	}
	b.WriteString("\n" + r.note.String())
	return b.String()
}

func parseRequest(text string) (request, error) {
	bad := func(rule string) (request, error) {
		return request{}, &sandbox.Error{Op: "witness: request", Kind: sandbox.Invalid, Object: "body", Detail: rule}
	}
	head, note, ok := strings.Cut(text, "\n\n")
	if !ok {
		return bad("an empty line stands between proof and note")
	}
	lines := strings.Split(head, "\n")
	digits, ok := strings.CutPrefix(lines[0], "old ")
	old, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || strconv.FormatUint(old, 10) != digits || len(lines) > 1+maxProof {
		return bad("the first line is \"old\" and a size, then at most 63 lines of proof")
	}
	r := request{old: old}
	for _, line := range lines[1:] {
		h, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(h) != sm.Size {
			return bad("a line of proof is the base64 of a hash")
		}
		r.proof = append(r.proof, h)
	}
	if r.note, err = tlog.ParseNote(note); err != nil {
		return request{}, err
	}
	return r, nil
}

// Handler serves the witness over HTTP.
func (w *Witness) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", w.add)
	mux.HandleFunc("GET /checkpoint", w.latest)
	mux.HandleFunc("GET /readmissions", w.readmissions)
	mux.HandleFunc("GET /healthz", func(out http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(out, "ok\n") })
	return mux
}

func (w *Witness) add(out http.ResponseWriter, in *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(out, in.Body, maxBody))
	var r request
	if err != nil {
		err = &sandbox.Error{Op: "witness: request", Kind: sandbox.Invalid, Object: "body", Detail: "cut off, or longer than a request"}
	} else {
		r, err = parseRequest(string(b))
	}
	var sig tlog.Cosignature
	if err == nil {
		sig, err = w.AddCheckpoint(in.Context(), r.old, r.proof, r.note.Checkpoint)
	}
	if err != nil {
		fail(out, err)
		return
	}
	out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(out, sig.String())
}

func (w *Witness) latest(out http.ResponseWriter, in *http.Request) {
	n, err := w.Latest(in.URL.Query().Get("origin"))
	if err != nil {
		fail(out, err)
		return
	}
	out.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(out, n.String())
}

func (w *Witness) readmissions(out http.ResponseWriter, in *http.Request) {
	all, err := w.Readmissions(in.URL.Query().Get("origin"))
	if err != nil {
		fail(out, err)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(out).Encode(all)
}

// sizeType is the content type of a Conflict's body. SPEC: C2SP tlog-witness.
const sizeType = "text/x.tlog.size"

func fail(out http.ResponseWriter, err error) {
	var s *Stale
	if errors.As(err, &s) {
		out.Header().Set("Content-Type", sizeType)
		out.WriteHeader(http.StatusConflict)
		fmt.Fprintf(out, "%d\n", s.Size)
		return
	}
	status := map[sandbox.Kind]int{sandbox.Invalid: http.StatusBadRequest, sandbox.Denied: http.StatusForbidden, sandbox.NotFound: http.StatusNotFound,
		sandbox.Tampered: http.StatusUnprocessableEntity, sandbox.Unavailable: http.StatusServiceUnavailable}[sandbox.KindOf(err)]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	var e *sandbox.Error
	text := http.StatusText(status)
	if errors.As(err, &e) {
		text = e.Detail
	}
	http.Error(out, text, status)
}

// status turns an answer back into an error.
func status(code int, contentType string, body []byte) error {
	if code == http.StatusOK {
		return nil
	}
	if code == http.StatusConflict && contentType == sizeType {
		size, err := strconv.ParseUint(string(bytes.TrimSpace(body)), 10, 64)
		if err == nil {
			return &Stale{size}
		}
	}
	kind := map[int]sandbox.Kind{http.StatusBadRequest: sandbox.Invalid, http.StatusForbidden: sandbox.Denied, http.StatusNotFound: sandbox.NotFound,
		http.StatusUnprocessableEntity: sandbox.Tampered}[code]
	if kind == "" {
		kind = sandbox.Unavailable
	}
	detail := "it answered " + strconv.Itoa(code)
	if kind == sandbox.Tampered {
		detail = "it says that this log does not continue what it has signed"
	}
	return &sandbox.Error{Op: "witness", Kind: kind, Object: "answer", Detail: detail}
}
