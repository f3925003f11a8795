package desensitize

import (
	"errors"
	"fmt"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/generalize"
	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/desensitize/noise"
	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
)

// Keys (脱敏密钥) gives the token keys that steps name: each of one scenario and partner, so that views of two of them cannot be
// joined by tokens.
type Keys interface {
	Key(name string) (token.Key, bool)
}

// Hierarchies (泛化层次库) gives the hierarchies that steps name beside the plan's own and the built-in ones: NotFound for one that is not there,
// Invalid for one with a hole.
type Hierarchies interface {
	Hierarchy(name string) (*generalize.Hierarchy, error)
}

// refusal is a broken rule with a code of its own.
type refusal struct{ code, rule, change string }

func (r refusal) Error() string { return r.rule }

// key gives the key that a step names.
func (s Step) key(o Options) (token.Key, error) {
	if s.Key == "" {
		return token.Key{}, refusal{"plan.key", "operation " + s.Op + " names a key", "add key: NAME"}
	}
	if o.Keys != nil {
		if k, ok := o.Keys.Key(s.Key); ok {
			return k, nil
		}
	}
	return token.Key{}, refusal{"plan.key", fmt.Sprintf("key %q is not there", s.Key), "give the key, or name one that was given"}
}

// tokens makes a token operation.
func (s Step) tokens(o Options) (Operation, error) {
	k, err := s.key(o)
	if err != nil {
		return nil, err
	}
	op, err := s.token(k)
	if errors.Is(err, sandbox.Denied) {
		return nil, refusal{"plan.domain", rule(err), "keep less of the value, or use token"}
	}
	return op, err
}

func (s Step) token(k token.Key) (Operation, error) {
	switch s.Op {
	case "token":
		return made(token.NewKeyed(k))
	case "token-block":
		return made(token.NewBlock(k))
	case "token-id":
		return made(token.NewResidentID(k, token.Identity{Region: s.Region, Birth: s.Birth}))
	case "token-card":
		return made(token.NewCard(k, s.Prefix))
	case "token-mobile":
		return made(token.NewMobile(k, s.Prefix))
	case "token-text":
		return made(token.NewAlphabet(k, s.Alphabet, s.Shortest, s.Longest))
	}
	return nil, errors.New("no operation of this name")
}

// generalized makes one level of a hierarchy. Level 0 would leave the values.
func (s Step) generalized(o Options) (Operation, error) {
	h, err := generalize.Rule(s.Hierarchy)
	if text, own := o.own[s.Hierarchy]; own {
		h, err = generalize.ReadHierarchy(strings.NewReader(text), s.Hierarchy)
	} else if err != nil && o.Hierarchies != nil {
		h, err = o.Hierarchies.Hierarchy(s.Hierarchy)
	}
	if err != nil {
		return nil, refusal{"plan.hierarchy", fmt.Sprintf("hierarchy %q: %s", s.Hierarchy, rule(err)), "give a whole hierarchy of this name, or name a built-in one"}
	}
	if s.Level < 1 {
		return nil, errors.New("a level from 1 on: level 0 leaves the values")
	}
	c, err := generalize.NewColumn(h, s.Level)
	return level{c}, err
}

// level counts as failed the values that its hierarchy does not know, which became *.
type level struct{ generalize.Column }

func (l level) Run(mem memory.Allocator, a arrow.Array) (arrow.Array, mask.Count, error) {
	out, unknown, err := l.Counted(mem, a)
	return out, mask.Count{Masked: int64(a.Len()-a.NullN()) - unknown, Failed: unknown}, err
}

// result gives the type that the step's operation makes of a type, and whether it takes it.
func (s Step) result(op Operation, in arrow.DataType) (arrow.DataType, bool) {
	if t, ok := op.(Typed); ok {
		return t.Type(in)
	}
	switch text := in.ID() == arrow.STRING; s.Op {
	case "token":
		return arrow.BinaryTypes.String, text || in.ID() == arrow.INT64
	case "generalize":
		return arrow.BinaryTypes.String, text || in.ID() == arrow.INT64 || in.ID() == arrow.DATE32
	case "noise", "limit", "micro":
		return in, in.ID() == arrow.INT64
	case "shuffle":
		return in, true
	default:
		return in, text
	}
}

// shift makes a date shift, which needs the subjects of rows.
func (s Step) shift(o Options) (SubjectOperation, error) {
	k, err := s.key(o)
	if err != nil {
		return nil, err
	}
	return noise.NewDateShift(k, s.Days)
}
