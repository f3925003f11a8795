// Package release is the only way out (出域): it turns approved bytes into an envelope signed by the domain and sealed to one
// recipient's SM2 key, and opens one on the recipient's side.
//
// An envelope is JSON in one encoding. The box is an SM4-GCM body under a key wrapped by SM2, bound to the head (release,
// question, class, recipient, expiry, digest), so a box cannot be moved to another envelope; the domain's signature covers
// head and box. Result is the SM3 of the outgoing bytes, for class B salted, since one record is easily guessed.
//
// Send fails closed: the approval must cover exactly these bytes now, and they are scanned once more, whoever approved them. Open checks the signature first, then expiry, then
// decrypts and compares the digest. Nothing here stores or transports an envelope.
package release

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Context is what the domain signs an envelope under.
const Context = "opdomain/release/v1"

// MaxEnvelope bounds an encoded envelope in bytes.
const MaxEnvelope = 32 << 20

// saltLen is the length of the salt of a digest that would be guessed (class B), which travels inside the box before the bytes.
const saltLen = 32

// Envelope (密封结果) is a released result.
type Envelope struct {
	Head
	Box       []byte `json:"box"`
	Signature []byte `json:"signature"`
}

// Head (结果头) is the readable part of an envelope.
type Head struct {
	Version   int                `json:"version"`
	Domain    string             `json:"domain"`
	Release   sandbox.ReleaseID  `json:"release"`
	Question  sandbox.QuestionID `json:"question"`
	Class     sandbox.Class      `json:"class"`
	Recipient sandbox.IdentityID `json:"recipient"`
	Policy    string             `json:"policy"`
	Consent   sandbox.ConsentID  `json:"consent,omitempty"`
	Result    []byte             `json:"result"`
	Sent      time.Time          `json:"sent"`
	Expires   time.Time          `json:"expires"`
}

// Sender (出域签发) is the domain as it signs envelopes.
type Sender struct {
	Domain string
	Key    *sm.SigningKey
	Rand   io.Reader
}

// Send seals approved bytes for the approval's recipient, whose encryption key is to.
func (s Sender) Send(a egress.Approval, id sandbox.ReleaseID, result []byte, to *sm.EncryptKey, now time.Time) (Envelope, error) {
	if !a.Covers(result, now) {
		return Envelope{}, &sandbox.Error{Op: "release", Kind: sandbox.Denied, Object: string(id), Detail: "an approval that covers exactly these bytes and has not expired"}
	}
	if err := sandbox.CheckID("release", string(id)); err != nil {
		return Envelope{}, err
	}
	if err := egress.Scan(a.Class(), a.Question(), result); err != nil {
		return Envelope{}, err
	}
	e := Envelope{Head: Head{Version: 1, Domain: s.Domain, Release: id, Question: a.Question(), Class: a.Class(), Recipient: a.Recipient(), Policy: a.Policy(),
		Consent: a.Consent(), Sent: now.UTC().Truncate(time.Millisecond), Expires: a.Expires().UTC()}}
	body := result
	if egress.Guessed(e.Class) {
		salt := make([]byte, saltLen, saltLen+len(result))
		if _, err := io.ReadFull(s.Rand, salt); err != nil {
			return Envelope{}, &sandbox.Error{Op: "release", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		body = append(salt, result...)
	}
	e.Result = egress.Digest(body)
	head, err := headBytes(e.Head)
	if err != nil {
		return Envelope{}, err
	}
	if e.Box, err = to.SealMessage(s.Rand, Context+string(head), body); err != nil {
		return Envelope{}, err
	}
	e.Signature, err = s.Key.Sign(s.Rand, Context, sm.Frame(head, e.Box))
	return e, err
}

// headBytes is what the box is bound to and, with the box, what is signed.
func headBytes(h Head) ([]byte, error) {
	b, err := json.Marshal(h)
	if err != nil { // a year beyond 9999
		return nil, &sandbox.Error{Op: "release", Kind: sandbox.Invalid, Object: string(h.Release), Detail: "a head that can be written", Err: err}
	}
	return b, nil
}

// Encode gives the envelope's one encoding.
func (e Envelope) Encode() ([]byte, error) { return json.Marshal(e) }

// Decode reads an envelope in its one encoding; it checks no signature.
func Decode(b []byte) (Envelope, error) {
	bad := &sandbox.Error{Op: "release: open", Kind: sandbox.Invalid, Object: "envelope", Detail: "one JSON object of version 1 and a class that leaves, in its one encoding"}
	if len(b) > MaxEnvelope {
		return Envelope{}, bad
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	var e Envelope
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil || e.Version != 1 || !egress.Formed(e.Class) {
		return Envelope{}, bad
	}
	if again, err := e.Encode(); err != nil || !bytes.Equal(again, b) {
		return Envelope{}, bad
	}
	return e, nil
}

// Open gives the outgoing bytes to the recipient. domain is the key the recipient trusts.
func (e Envelope) Open(key *sm.DecryptKey, domain *sm.VerifyKey, now time.Time) ([]byte, error) {
	head, err := headBytes(e.Head)
	if err != nil {
		return nil, err
	}
	if err := domain.Verify(Context, sm.Frame(head, e.Box), e.Signature); err != nil {
		return nil, &sandbox.Error{Op: "release: open", Kind: sandbox.Tampered, Object: string(e.Release), Detail: "the envelope is not signed by this domain", Hint: "fetch it again; check the domain's key"}
	}
	if !now.Before(e.Expires) {
		return nil, &sandbox.Error{Op: "release: open", Kind: sandbox.Expired, Object: string(e.Release), Detail: "the release is past its expiry " + e.Expires.Format(time.DateOnly), Hint: "ask the question again"}
	}
	body, err := key.OpenMessage(Context+string(head), e.Box)
	if err != nil {
		return nil, &sandbox.Error{Op: "release: open", Kind: sandbox.Denied, Object: string(e.Release), Detail: "the envelope is not sealed to this identity", Hint: "open it as its recipient " + string(e.Recipient)}
	}
	other := &sandbox.Error{Op: "release: open", Kind: sandbox.Tampered, Object: string(e.Release), Detail: "the content is not what the head says"}
	if !bytes.Equal(egress.Digest(body), e.Result) {
		return nil, other
	}
	if egress.Guessed(e.Class) {
		if len(body) < saltLen {
			return nil, &sandbox.Error{Op: "release: open", Kind: sandbox.Tampered, Object: string(e.Release), Detail: "the box carries its salt"}
		}
		body = body[saltLen:]
	}
	if q, err := egress.Read(e.Class, body); err != nil || q != e.Question {
		return nil, other
	}
	return body, nil
}
