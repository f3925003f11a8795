package attest

import (
	"bytes"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts of what the agency says about algorithms.
const (
	ContextAlgorithm         = "opdomain/algorithm/v1"
	ContextAlgorithmWithdraw = "opdomain/algorithm-withdraw/v1"
)

type (
	// AlgorithmApproval (算法准入) is the agency's word that one version of an algorithm may be used: its manifest, the bytes of its image and,
	// of a Program, the graph that the image records. All three are SM3 digests.
	AlgorithmApproval struct {
		Name     string    `json:"name"`
		Version  string    `json:"version"`
		Manifest []byte    `json:"manifest"`
		Image    []byte    `json:"image"`
		Graph    []byte    `json:"graph,omitempty"`
		At       time.Time `json:"at"`
	}
	// AlgorithmWithdrawal (算法撤回) ends its use at once.
	AlgorithmWithdrawal struct {
		Name    string    `json:"name"`
		Version string    `json:"version"`
		Reason  string    `json:"reason"`
		At      time.Time `json:"at"`
	}
	// AlgorithmApprovedBody (算法准入).
	AlgorithmApprovedBody struct {
		Statement Statement `json:"statement"`
	}
	// AlgorithmWithdrawnBody (算法撤回).
	AlgorithmWithdrawnBody struct {
		Statement Statement `json:"statement"`
	}
	// AlgorithmRefusedBody (算法不予准入): an image or manifest that was sent for approval and breaks a rule, or a use of one that is not
	// approved. Nothing of it was kept.
	AlgorithmRefusedBody struct {
		Name    string `json:"name,omitempty"`
		Version string `json:"version,omitempty"`
		Image   []byte `json:"image,omitempty"` // SM3 of what was sent
		Rule    string `json:"rule"`
	}
	// AlgorithmAskedBody (算法调用): the questions that a Program became; of other contracts, which have no graph, the one that was asked.
	AlgorithmAskedBody struct {
		Name      string               `json:"name"`
		Version   string               `json:"version"`
		Graph     []byte               `json:"graph,omitempty"`
		Scenario  sandbox.ScenarioID   `json:"scenario"`
		Questions []sandbox.QuestionID `json:"questions"`
	}
)

// AlgorithmRanBody (算法隔离运行): foreign code ran confined for a question: which image under which manifest, in which tier and seen in which posture
// before it got data, over what, and how it ended. It depends on data: for the agency and the owners.
type AlgorithmRanBody struct {
	Name     string                 `json:"name"`
	Version  string                 `json:"version"`
	Manifest []byte                 `json:"manifest"` // SM3
	Image    []byte                 `json:"image"`    // SM3
	Question sandbox.QuestionID     `json:"question"`
	Inputs   []sandbox.InputVersion `json:"inputs"`
	View     sandbox.DatasetID      `json:"view,omitempty"`
	Tier     string                 `json:"tier"`
	Posture  []byte                 `json:"posture,omitempty"`  // SM3; none of code that never started
	Bits     int                    `json:"bits"`               // that its output may carry, charged before
	Repeated bool                   `json:"repeated,omitempty"` // computed a second time, and compared, before anything was submitted
	Fault    string                 `json:"fault,omitempty"`    // the reason of one that gave nothing
	Faults   int                    `json:"faults,omitempty"`   // of a Map: subjects for whom it gave nothing, and who are in no cell
}

type algorithmTrail struct {
	AlgorithmApproval
	withdrawn bool
}

func (c *checker) algorithm(name, version string) *algorithmTrail {
	return c.algorithms[name+"@"+version]
}

// algorithmApproved: by an officer of the agency, once a version.
func (c *checker) algorithmApproved(e Event, b AlgorithmApprovedBody) error {
	const check = "algorithm approval"
	var a AlgorithmApproval
	who, ok, err := c.statement(e, b.Statement, ContextAlgorithm, &a)
	if err != nil || !ok {
		return err
	}
	twice := c.algorithm(a.Name, a.Version) != nil
	if c.algorithms == nil {
		c.algorithms = map[string]*algorithmTrail{}
	}
	c.algorithms[a.Name+"@"+a.Version] = &algorithmTrail{AlgorithmApproval: a}
	return all(c.role(who.ID, check, sandbox.Agency), c.want(who.Duty == sandbox.Officer, check, "by an officer"), c.want(!twice, check, "a version is approved once"),
		c.want(a.Name != "" && a.Version != "" && len(a.Manifest) == sm.Size && len(a.Image) == sm.Size && (len(a.Graph) == 0 || len(a.Graph) == sm.Size), check, "with the digests of manifest, image and graph"),
		c.dated(a.At, e))
}

func (c *checker) algorithmWithdrawn(e Event, b AlgorithmWithdrawnBody) error {
	const check = "algorithm approval"
	var w AlgorithmWithdrawal
	who, ok, err := c.statement(e, b.Statement, ContextAlgorithmWithdraw, &w)
	if err != nil || !ok {
		return err
	}
	if err := all(c.role(who.ID, check, sandbox.Agency), c.want(w.Reason != "", check, "withdrawn for a reason"), c.dated(w.At, e)); err != nil {
		return err
	}
	a := c.algorithm(w.Name, w.Version)
	if a == nil {
		return c.shown(false, check, "approved before")
	}
	before := a.withdrawn
	a.withdrawn = true
	return c.want(!before, check, "withdrawn once")
}

// algorithmAsked: of one that was approved and not withdrawn, with the graph that was approved, for questions decided before.
func (c *checker) algorithmAsked(b AlgorithmAskedBody) error {
	const check = "algorithm use"
	for _, id := range b.Questions {
		q := c.questions[id]
		if err := c.shown(q != nil && q.decided.Scenario == b.Scenario, check, "for questions decided before, under its scenario"); err != nil {
			return err
		}
	}
	a := c.algorithm(b.Name, b.Version)
	if a == nil {
		return c.shown(false, check, "of an approved algorithm")
	}
	return all(c.want(!a.withdrawn, check, "of an algorithm that was not withdrawn"), c.want(bytes.Equal(b.Graph, a.Graph), check, "with the graph that was approved"))
}

// algorithmRan: the image and manifest that were approved and not withdrawn, for a question of foreign code decided before; what gave something was seen
// in a posture.
func (c *checker) algorithmRan(b AlgorithmRanBody) error {
	const check = "algorithm run"
	q := c.questions[b.Question]
	if err := c.shown(q != nil, check, "for a question decided before"); err != nil {
		return err
	}
	if q != nil {
		if err := c.want(q.decided.Allow && (q.decided.Engine == sandbox.Opaque || q.decided.Engine == sandbox.Map), check, "for an allowed question that foreign code answers"); err != nil {
			return err
		}
	}
	a := c.algorithm(b.Name, b.Version)
	if a == nil {
		return c.shown(false, check, "of an approved algorithm")
	}
	return all(c.want(bytes.Equal(b.Image, a.Image) && bytes.Equal(b.Manifest, a.Manifest), check, "of the image and manifest that were approved"),
		c.want(b.Tier != "" && b.Bits > 0 && (len(b.Posture) == sm.Size || len(b.Posture) == 0 && b.Fault != ""), check, "in a tier and a posture, with the bits that it may carry"))
}
