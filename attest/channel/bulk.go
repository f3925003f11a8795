package channel

import (
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// BulkContext names the key schedule of a bulk connection.
const BulkContext = "opdomain/bulk/v1"

const (
	// DefaultWindow is the sender's bound on bytes not yet acknowledged.
	DefaultWindow = 16 << 20
	// MaxSignature bounds an opening's signature in bytes.
	MaxSignature = 72

	helloHead   = 4 + 4 + 2
	nonceSize   = 32
	confirmSize = 4 + nonceSize + sm.Size
	ackSize     = ackHead + 8 + tagSize
	ackHead     = 16
	frameCost   = 64 // what an unacknowledged frame costs beside its payload, so that tiny ones are bounded too
)

var (
	helloMagic   = [4]byte{'O', 'D', 'B', '1'}
	confirmMagic = [4]byte{'O', 'D', 'C', '1'}
	bulkMagic    = [4]byte{'O', 'D', 'F', '2'}
	ackMagic     = [4]byte{'O', 'D', 'A', '1'}
)

// errBulk is the one error of a receiver: whoever sends bytes learns nothing from it.
func errBulk() error {
	return &sandbox.Error{Op: "channel: bulk", Kind: sandbox.Tampered, Object: "connection", Detail: "the connection fails authentication",
		Hint: "connect again under a new opening"}
}

var errClosed = errors.New("closed on this side")

func lost(op string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // an end is never the end of a whole stream
	}
	return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: "connection", Err: err, Hint: "connect again under a new opening, from the last acknowledged frame"}
}

// schedule derives the keys of one connection; the receiver's nonce makes them new even for a replayed opening.
type schedule struct {
	secret *Secret
	digest [sm.Size]byte
	nonce  [nonceSize]byte
}

func (k *schedule) key(label string, n int) ([]byte, error) {
	return sm.HKDF(k.secret.b[:], k.digest[:], sm.Frame([]byte(BulkContext), []byte(label), k.nonce[:]), n)
}

func (k *schedule) aead(label string) (cipher.AEAD, error) {
	key, err := k.key(label, sm.KeySize)
	if err != nil {
		return nil, err
	}
	return sm.NewGCM(key)
}

func (k *schedule) confirmation(opening, sig []byte) ([]byte, error) {
	key, err := k.key("confirm", sm.Size)
	if err != nil {
		return nil, err
	}
	mac := sm.HMAC(key, sm.Frame(opening, sig, k.nonce[:]))
	out := append(make([]byte, 0, confirmSize), confirmMagic[:]...)
	out = append(out, k.nonce[:]...)
	return append(out, mac[:]...), nil
}

// encodeHello is the first message of a connection: magic, uint32 length of the opening, uint16 length of the signature,
// opening, signature.
func encodeHello(opening, sig []byte) []byte {
	out := append(make([]byte, 0, helloHead+len(opening)+len(sig)), helloMagic[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(opening)))
	out = binary.BigEndian.AppendUint16(out, uint16(len(sig)))
	return append(append(out, opening...), sig...)
}

func readHello(r io.Reader) (opening, sig []byte, err error) {
	var head [helloHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, nil, err
	}
	n, m := binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint16(head[8:])
	if [4]byte(head[:4]) != helloMagic || n == 0 || n > MaxOpening || m == 0 || m > MaxSignature {
		return nil, nil, errors.New("a first message of its form")
	}
	b := make([]byte, int(n)+int(m))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, nil, err
	}
	return b[:n:n], b[n:], nil
}

// ackHeader writes the part of an acknowledgement in the clear: magic, flags, three zeros, counter from 0.
func ackHeader(b []byte, last bool, counter uint64) {
	copy(b, ackMagic[:])
	b[4], b[5], b[6], b[7] = 0, 0, 0, 0
	if last {
		b[4] = flagLast
	}
	binary.BigEndian.PutUint64(b[8:], counter)
}

// sealer seals or opens one direction's messages; its scratch lives with it so that a message allocates nothing.
type sealer struct {
	aead  cipher.AEAD
	ad    [headSize + sm.Size]byte
	nonce [12]byte
}

func newSealer(k *schedule, label string) (*sealer, error) {
	a, err := k.aead(label)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: a}, nil
}

func (s *sealer) bind(head []byte, digest *[sm.Size]byte, seq uint64) []byte {
	n := copy(s.ad[:], head)
	n += copy(s.ad[n:], digest[:])
	binary.BigEndian.PutUint64(s.nonce[4:], seq)
	return s.ad[:n]
}

func sameMAC(a, b []byte) bool { return hmac.Equal(a, b) }
