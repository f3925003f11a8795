package psi

import (
	"errors"

	"github.com/opdomain/opdomain/sandbox"
)

// Conn (通信信道) carries messages to one peer and back, authenticated, sealed, in order and exactly once; whoever gives it has made
// sure who the peer is. Its calls come from one goroutine, but for Abort.
type Conn interface {
	// Send gives a message of at least one byte under a tag to the transport; b is free afterwards. It may block until the peer posts.
	Send(tag uint32, b []byte) error
	// Post says where the peer's next message goes, which is under that tag and of exactly that length, and gives the call that waits
	// for it. Anything else is an error of the wait. into is the Conn's until then.
	Post(tag uint32, into []byte) (wait func() error)
	// Abort ends the connection: calls that wait return, here and at the peer.
	Abort(rule string)
}

// Tags of the messages.
const (
	tagHello   uint32 = 0x70736901
	tagPoints  uint32 = 0x70736902
	tagTags    uint32 = 0x70736903
	tagVerdict uint32 = 0x70736904
	tagSums    uint32 = 0x70736905
	tagConfirm uint32 = 0x70736906
)

// Rule (中止规则) is what did not hold when a job was aborted.
type Rule string

// The rules.
const (
	RuleLink         Rule = "the link gives the next message, under its tag and of its length"
	RulePlan         Rule = "both sides run the same plan"
	RulePoint        Rule = "every point is on the SM2 curve and not the identity"
	RuleDuplicate    Rule = "no element comes twice"
	RuleOrder        Rule = "sorted tags ascend"
	RuleUnauthorised Rule = "a listed set is the one that the agency certified"
	RulePadding      Rule = "padding meets nothing"
	RuleMessage      Rule = "a message has its form"
	RuleTranscript   Rule = "both sides saw the same transcript"
	RuleStopped      Rule = "the job was stopped"
)

// Abort (中止) ends a job without any output. It names the side that is known to have broken the rule and never an element.
type Abort struct {
	Rule  Rule
	Blame *Side // nil where nobody is known to be at fault
	Kind  sandbox.Kind
	Err   error // cause on this side
}

func (a *Abort) Error() string {
	who := ""
	if a.Blame != nil {
		who = ": " + a.Blame.String()
	}
	return "psi: abort" + who + ": " + string(a.Kind) + ": " + string(a.Rule)
}

// Unwrap gives the cause, for the party's own log.
func (a *Abort) Unwrap() error { return a.Err }

// Is makes errors.Is match on the kind.
func (a *Abort) Is(target error) bool {
	k, ok := target.(sandbox.Kind)
	return ok && k == a.Kind
}

func (s Side) broke(rule Rule, err error) *Abort {
	return &Abort{Rule: rule, Blame: &s, Kind: sandbox.Tampered, Err: err}
}

func linkEnded(err error) error {
	if a := (*Abort)(nil); errors.As(err, &a) {
		return err
	}
	kind := sandbox.Unavailable
	if errors.Is(err, sandbox.Tampered) {
		kind = sandbox.Tampered
	}
	return &Abort{Rule: RuleLink, Kind: kind, Err: err}
}
