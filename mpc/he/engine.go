package he

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/opdomain/opdomain/sandbox"
)

// Op (运算) is one thing the adapter does. Arguments and results are byte strings in this package's codec.
type Op byte

// The operations. A handle is 8 bytes that name a key inside the adapter; keys never leave it.
const (
	OpNewShare      Op = iota + 1 // set, seed → handle, public key share: a party's part of a collective key
	OpDeal                        // handle, n and t as two bytes → n shares of the part, once
	OpJoin                        // handle, the deals of all units to this one → –
	OpPublicKey                   // set, seed, public key shares of all parties → handle, public key
	OpEncrypt                     // handle of a public key, values → ciphertext
	OpAdd                         // set, ciphertexts → their sum
	OpPartial                     // handle, flooding bits, own point, the openers' points, ciphertext → decryption share, once for a ciphertext
	OpOpen                        // handle of the gate's part, ciphertext, shares → values
	OpErase                       // handle → –
	OpNewClient                   // set → handle, public key, relinearisation key, public key for one: an asker's own keys
	OpEncryptOwn                  // handle, float64 values → first half of a ciphertext, seed of the second
	OpScore                       // set, public key, relinearisation key, link, bias and weights, ciphertexts → ciphertext
	OpDecryptOwn                  // handle, ciphertext → float64 values
	OpEncryptOne                  // handle, float64 features of one customer → ciphertext
	OpScoreOne                    // set, public key, bias and weights, ciphertext → ciphertext
	OpDecryptOne                  // handle, ciphertext → one float64
	OpEncryptFor                  // handle of a public key, float64 features of one group → ciphertext
	OpApply                       // handle of a public key, bias and weights, ciphertext → ciphertext
	OpOpenOne                     // handle of the gate's part, ciphertext, shares → one float64
	OpRelinOne                    // handle, seed → a party's first share of a relinearisation key, once
	OpRelinTwo                    // handle, flooding bits, first shares of all → its second share, once
	OpRelinKey                    // handle of a public key, first shares of all, second shares of all → –
	OpEncryptFactor               // handle of a public key, side, values → ciphertext to be multiplied
	OpMask                        // handle of a public key → ciphertext that hides all of a product but one value
	OpProduct                     // handle of a public key, pairs, numbers of factors, factors of either side, masks → ciphertext
	OpOpenProduct                 // handle of the gate's part, ciphertext, shares → value and checks
	opEnd
)

// Engine (同态运算引擎) runs operations: Local in this process, Child in a confined process of its own. An error of kind
// Unavailable means that the engine is gone and everything it held with it; the caller ends its epoch and never retries.
type Engine interface {
	Do(ctx context.Context, op Op, args ...[]byte) ([][]byte, error)
}

// maxKeys bounds what one engine holds, maxArgs the arguments of a call.
const (
	maxKeys = 1024
	maxArgs = 4096
)

// Local (本地引擎) is the adapter in this process. Randomness of encryptions, shares and flooding comes from the reader it is made with; the
// library draws keys from the system's by itself. One call runs at a time.
type Local struct {
	rand io.Reader

	mu   sync.Mutex
	next uint64
	held map[uint64]any
	sums map[SetName]*adder
}

// NewLocal makes an engine.
func NewLocal(rand io.Reader) *Local {
	return &Local{rand: rand, held: map[uint64]any{}, sums: map[SetName]*adder{}}
}

// Do runs one operation. A panic of the library becomes an error of kind Internal.
func (l *Local) Do(ctx context.Context, op Op, args ...[]byte) (out [][]byte, err error) {
	if err := ctx.Err(); err != nil {
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Err: err}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		if r := recover(); r != nil { // what it says may hold values
			out, err = nil, fail(sandbox.Internal, "library", "does not panic")
		}
	}()
	if len(args) == 0 || len(args) > maxArgs {
		return nil, fail(sandbox.Invalid, "operation", "has 1 to 4096 arguments")
	}
	switch op {
	case OpNewShare:
		return l.newShare(args)
	case OpDeal:
		return l.deal(args)
	case OpJoin:
		return l.join(args)
	case OpPublicKey:
		return l.publicKey(args)
	case OpEncrypt:
		return l.encrypt(args)
	case OpAdd:
		return l.add(args)
	case OpPartial:
		return l.partial(args)
	case OpOpen:
		return l.open(args)
	case OpRelinOne:
		return l.relinOne(args)
	case OpRelinTwo:
		return l.relinTwo(args)
	case OpRelinKey:
		return l.relinKey(args)
	case OpEncryptFactor:
		return l.encryptFactor(args)
	case OpMask:
		return l.mask(args)
	case OpProduct:
		return l.product(args)
	case OpOpenProduct:
		return l.openProduct(args)
	case OpErase:
		return l.erase(args)
	case OpNewClient:
		return l.newClient(args)
	case OpEncryptOwn:
		return l.encryptOwn(args)
	case OpScore:
		return l.score(args)
	case OpDecryptOwn:
		return l.decryptOwn(args)
	case OpEncryptOne:
		return l.encryptOne(args)
	case OpScoreOne:
		return l.scoreOne(args)
	case OpDecryptOne:
		return l.decryptOne(args)
	case OpEncryptFor:
		return l.encryptFor(args)
	case OpApply:
		return l.apply(args)
	case OpOpenOne:
		return l.openOne(args)
	}
	return nil, fail(sandbox.Invalid, "operation", "is known")
}

// keep stores a key and gives its handle.
func (l *Local) keep(key any) ([]byte, error) {
	if len(l.held) >= maxKeys {
		return nil, fail(sandbox.TooLarge, "engine", fmt.Sprintf("holds at most %d keys", maxKeys))
	}
	l.next++
	l.held[l.next] = key
	return binary.BigEndian.AppendUint64(nil, l.next), nil
}

// key finds what a handle names.
func key[K any](l *Local, handle []byte) (k K, err error) {
	if len(handle) == 8 {
		if k, ok := l.held[binary.BigEndian.Uint64(handle)].(K); ok {
			return k, nil
		}
	}
	return k, fail(sandbox.NotFound, "handle", "names a key of this kind in this engine")
}

func (l *Local) erase(args [][]byte) ([][]byte, error) {
	if len(args) != 1 || len(args[0]) != 8 {
		return nil, fail(sandbox.Invalid, "erase", "takes one handle")
	}
	h := binary.BigEndian.Uint64(args[0])
	if k, ok := l.held[h].(interface{ wipe() }); ok {
		k.wipe()
	}
	delete(l.held, h)
	return nil, nil
}

// counted wants an exact number of arguments.
func counted(args [][]byte, n int) error {
	if len(args) != n {
		return fail(sandbox.Invalid, "operation", fmt.Sprintf("takes %d arguments", n))
	}
	return nil
}

func fail(kind sandbox.Kind, object, rule string) error {
	return &sandbox.Error{Op: "he", Kind: kind, Object: object, Detail: rule}
}
