package attest

import (
	"bytes"
	"io"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// The domain's own audiences (存证受众). Others are named by the caller: "party/<id>", "subject/<id>".
const (
	// BaseAudience is who an event is for when it names nobody.
	BaseAudience = "agency"
	// IndexAudience names the key that seals, for the domain alone, whom an entry is for. No event is for it.
	IndexAudience = "domain/index"
)

// MaxAudiences bounds the audiences of one event; MaxAudience one audience's name in bytes.
const (
	MaxAudiences = 8
	MaxAudience  = 79
)

// AudienceKeys (受众密钥) gives the 16-byte symmetric key of an audience, which must be its own: random and used for nothing
// else. A key that is not there any more is NotFound or Expired; what only it opened is then erased. It is asked at every
// event and its answers are not kept, so that a destroyed key is gone at once.
type AudienceKeys interface {
	AudienceKey(audience string) ([]byte, error)
}

// A payload at rest:
//
//	0        version, 1
//	1        number of wraps n: 1, 2, 4 or 8
//	2        n × 48: blinded label (16), content key under SM4-GCM (16 + 16), in the order of the labels
//	2 + 48n  n × 80 + 16: the audiences' names, sealed under IndexAudience; each a length byte and 79 bytes
//	         salt and event, sealed under the content key
//
// From an audience's key and the entry, HMAC-SM3 gives the label (second half) and the key that wraps (first half): a
// holder finds its wrap by computing it, nobody else can tell one label from another or from the random bytes that fill
// up to n. Every key here seals once, so nonces are zero. The body's authentication covers all before it: a payload whose
// wraps were taken away does not open for those left. What its length still tells is the length of the event and n.
const (
	payloadVersion = 1
	payloadHead    = 2
	labelLen       = 16
	tagLen         = 16
	wrapLen        = labelLen + sm.KeySize + tagLen
	nameLen        = 1 + MaxAudience
	nonceLen       = 12

	contextWrap = "opdomain/log-wrap/v1"
	contextBody = "opdomain/log-payload/v2"
)

// maxPayload is the longest payload of an event of MaxEvent bytes.
const maxPayload = payloadHead + MaxAudiences*(wrapLen+nameLen) + tagLen + saltLen + MaxEvent + tagLen

func checkAudience(name string) error {
	kind, id, sub := strings.Cut(name, "/")
	if len(name) > MaxAudience || sandbox.CheckID("audience", kind) != nil || sub && sandbox.CheckID("audience", id) != nil || name == IndexAudience {
		return &sandbox.Error{Op: "evidence", Kind: sandbox.Invalid, Object: "audience", Detail: "an identifier, or two with '/' between them, at most 79 bytes"}
	}
	return nil
}

// wrapping derives label and wrapping key of one audience for one entry.
func wrapping(key []byte, entry [sm.Size]byte) (label, wrap []byte, err error) {
	if len(key) != sm.KeySize {
		return nil, nil, &sandbox.Error{Op: "evidence", Kind: sandbox.Invalid, Object: "audience key", Detail: "16 bytes"}
	}
	d := sm.HMAC(key, []byte(contextWrap), entry[:])
	return d[sm.KeySize:], d[:sm.KeySize], nil
}

func wrapAAD(entry [sm.Size]byte, audience string) []byte {
	return append(entry[:len(entry):len(entry)], audience...)
}

func bodyAAD(entry [sm.Size]byte, head []byte) []byte {
	return slices.Concat([]byte(contextBody), entry[:], head)
}

func seal(dst, key, plain, aad []byte) ([]byte, error) {
	aead, err := sm.NewGCM(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(dst, make([]byte, nonceLen), plain, aad), nil
}

func unseal(key, box, aad []byte) ([]byte, error) {
	aead, err := sm.NewGCM(key)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, make([]byte, nonceLen), box, aad)
}

// slots rounds a number of audiences up to 1, 2, 4 or 8.
func slots(n int) int {
	for s := 1; s < MaxAudiences; s *= 2 {
		if n <= s {
			return s
		}
	}
	return MaxAudiences
}

// sealPayload seals plain, which is salt and event, for each audience. keys are those of names, in their order.
func sealPayload(rand io.Reader, entry [sm.Size]byte, plain []byte, names []string, keys [][]byte, index []byte) ([]byte, error) {
	n := slots(len(names))
	out := make([]byte, 0, payloadHead+n*(wrapLen+nameLen)+tagLen+len(plain)+tagLen)
	out = append(out, payloadVersion, byte(n))
	draw := make([]byte, sm.KeySize+(n-len(names))*wrapLen)
	if _, err := io.ReadFull(rand, draw); err != nil {
		return nil, &sandbox.Error{Op: "evidence: seal", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	content, filler := draw[:sm.KeySize], draw[sm.KeySize:]
	wraps := make([][]byte, 0, n)
	list := make([]byte, 0, n*nameLen)
	for i, name := range names {
		label, wrap, err := wrapping(keys[i], entry)
		if err != nil {
			return nil, err
		}
		w, err := seal(label[:labelLen:labelLen], wrap, content, wrapAAD(entry, name))
		if err != nil {
			return nil, err
		}
		wraps = append(wraps, w)
		list = append(list, byte(len(name)))
		list = append(append(list, name...), make([]byte, MaxAudience-len(name))...)
	}
	for ; len(filler) > 0; filler = filler[wrapLen:] {
		wraps = append(wraps, filler[:wrapLen])
	}
	// Sorted, their order says nothing about the order of the names.
	slices.SortFunc(wraps, bytes.Compare)
	for _, w := range wraps {
		out = append(out, w...)
	}
	_, wrap, err := wrapping(index, entry)
	if err != nil {
		return nil, err
	}
	if out, err = seal(out, wrap, list[:n*nameLen], wrapAAD(entry, IndexAudience)); err != nil {
		return nil, err
	}
	return seal(out, content, plain, bodyAAD(entry, out))
}

// payload is a parsed one.
type payload struct {
	head  []byte // all before the body
	wraps []byte
	index []byte
	body  []byte
}

func parsePayload(b []byte) (p payload, ok bool) {
	if len(b) < payloadHead || len(b) > maxPayload || b[0] != payloadVersion || slots(int(b[1])) != int(b[1]) {
		return p, false
	}
	n := int(b[1])
	index := payloadHead + n*wrapLen
	body := index + n*nameLen + tagLen
	if len(b) < body+saltLen+tagLen {
		return p, false
	}
	return payload{head: b[:body], wraps: b[payloadHead:index], index: b[index:body], body: b[body:]}, true
}

// open opens the body under one audience's key. found says whether there is a wrap for it.
func (p payload) open(entry [sm.Size]byte, audience string, key []byte) (plain []byte, found bool, err error) {
	label, wrap, err := wrapping(key, entry)
	if err != nil {
		return nil, false, err
	}
	for w := p.wraps; len(w) > 0; w = w[wrapLen:] {
		if !bytes.Equal(w[:labelLen], label) {
			continue
		}
		content, err := unseal(wrap, w[labelLen:wrapLen], wrapAAD(entry, audience))
		if err != nil {
			return nil, true, err
		}
		plain, err = unseal(content, p.body, bodyAAD(entry, p.head))
		return plain, true, err
	}
	return nil, false, nil
}

// audiences opens the list of names.
func (p payload) audiences(entry [sm.Size]byte, index []byte) ([]string, bool) {
	_, wrap, err := wrapping(index, entry)
	if err != nil {
		return nil, false
	}
	list, err := unseal(wrap, p.index, wrapAAD(entry, IndexAudience))
	if err != nil {
		return nil, false
	}
	var out []string
	for ; len(list) > 0; list = list[nameLen:] {
		if n := int(list[0]); n > 0 && n <= MaxAudience {
			out = append(out, string(list[1:1+n]))
		}
	}
	return out, true
}

// OpenPayload (开启存证载荷) opens one stored payload offline under an audience's key, and holds it to its entry. NotFound when
// the event is not for that audience, or not under that key; Tampered when it is and does not open. The event's signature
// is the caller's to check with Event.Verify: an entry read from a log is under the log's checkpoint, this one need not be.
func OpenPayload(entry [sm.Size]byte, stored []byte, audience string, key []byte) (Entry, error) {
	p, ok := parsePayload(stored)
	if !ok {
		return Entry{}, payloadFault("payload")
	}
	plain, found, err := p.open(entry, audience, key)
	if sandbox.KindOf(err) == sandbox.Invalid {
		return Entry{}, err
	}
	if err != nil {
		return Entry{}, payloadFault("payload")
	}
	if !found {
		return Entry{}, &sandbox.Error{Op: "evidence: open", Kind: sandbox.NotFound, Object: "payload", Detail: "it is not for this audience"}
	}
	return openEntry(entry, plain, "payload")
}

// openEntry reads salt and event and holds them to the entry.
func openEntry(entry [sm.Size]byte, plain []byte, place string) (Entry, error) {
	if len(plain) < saltLen {
		return Entry{}, payloadFault(place)
	}
	out := Entry{Entry: entry, Salt: plain[:saltLen:saltLen], Text: plain[saltLen:]}
	if sm.HMAC(out.Salt, out.Text) != entry || strict(out.Text, &out.Event) != nil {
		return Entry{}, payloadFault(place)
	}
	return out, nil
}

func payloadFault(place string) error {
	return &sandbox.Error{Op: "evidence: read", Kind: sandbox.Tampered, Object: place, Detail: "the payload is not what the entry hides"}
}
