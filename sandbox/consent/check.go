package consent

import (
	"crypto/subtle"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// The reasons of Check, for the person, the owner and auditors.
const (
	CodeNone     = "consent.none"         // there is no consent
	CodeSubject  = "consent.subject"      // 他人的授权: another person's
	CodeGrantee  = "consent.grantee"      // 被授权方不符: given to another asker
	CodeScenario = "consent.scenario"     // 场景不符
	CodePurpose  = "consent.purpose"      // 用途不符
	CodeDataset  = "consent.dataset"      // 数据不符
	CodeClaim    = "consent.claim"        // 报案不符: another claim
	CodeFields   = "consent.fields"       // 超出授权字段: one field too many refuses the whole
	CodeRevoked  = "consent.revoked"      // 已撤回
	CodeNotYet   = "consent.not-yet"      // 未到期限
	CodeExpired  = "consent.expired"      // 已过期限
	CodeUses     = "consent.uses-reached" // 次数用尽
)

// Order lists the codes in the published order of Check: who and what first, then whether it is still in force.
func Order() []string {
	return []string{CodeNone, CodeSubject, CodeGrantee, CodeScenario, CodePurpose, CodeDataset, CodeClaim, CodeFields, CodeRevoked, CodeNotYet, CodeExpired, CodeUses}
}

const (
	law     = "中华人民共和国个人信息保护法 第十四条"
	revoke  = "中华人民共和国个人信息保护法 第十五条"
	grantor = "福田区公共数据资源授权运营实施方案(试行)(征求意见稿) 八(四)"
	precise = "福田区公共数据资源授权运营实施方案(试行)(征求意见稿) 二(二)3 全链路个人精准授权"
	minimal = "龙华区公共数据资源授权运营实施方案(试行) 九(二) 最小必要原则"
	scene   = "龙华区公共数据资源授权运营实施方案(试行) 九(二) 场景限制原则"
)

// ClaimCheck (授权核对) is what one question about one person asks for.
type ClaimCheck struct {
	Subject  sandbox.IdentityID // the person the question is about
	Grantee  sandbox.PartyID    // the asker
	Scenario sandbox.ScenarioID
	Purpose  string
	Dataset  sandbox.DatasetID
	Fields   []string
	Claim    []byte // commitment
	At       time.Time
}

// Check says whether r allows q: the first reason in the order of Order, or true. The zero Record allows nothing.
func Check(r Record, q ClaimCheck) (sandbox.Reason, bool) {
	c := r.Receipt
	no := func(code, rule, article, change string) (sandbox.Reason, bool) {
		return sandbox.Reason{Code: code, Rule: rule, Article: article, Change: change}, false
	}
	switch {
	case c.ID == "" || len(c.Claim) != DigestSize:
		return no(CodeNone, "a record of a person is answered only under that person's consent", law, "ask the person for a consent")
	case q.Subject != c.Subject:
		return no(CodeSubject, "the consent was given by another person", precise, "ask this person for a consent")
	case q.Grantee != c.Grantee:
		return no(CodeGrantee, "the consent was given to another asker", precise, "ask the person for a consent of your own")
	case q.Scenario != c.Scenario:
		return no(CodeScenario, "the consent was given for another scenario", scene, "ask under the consented scenario")
	case q.Purpose != c.Purpose:
		return no(CodePurpose, "the consent was given for another purpose", scene, "ask for the consented purpose")
	case q.Dataset != c.Dataset:
		return no(CodeDataset, "the consent was given for another dataset", grantor, "ask for the consented dataset")
	case subtle.ConstantTimeCompare(q.Claim, c.Claim) != 1:
		return no(CodeClaim, "the consent was given for another claim", precise, "ask about the consented claim")
	case len(q.Fields) == 0:
		return no(CodeFields, "a question names its fields", minimal, "name the consented fields that are needed")
	}
	for _, f := range q.Fields {
		if !slices.Contains(c.Fields, f) {
			reason, ok := no(CodeFields, "a field is not consented to; the question is refused whole, never trimmed", minimal, "ask without this field")
			reason.Column = string(q.Dataset) + "." + f
			return reason, ok
		}
	}
	return usable(r, q.At)
}

// usable says whether the consent is in force: not revoked, inside its term, not used up.
func usable(r Record, at time.Time) (sandbox.Reason, bool) {
	no := func(code, rule, article, change string) (sandbox.Reason, bool) {
		return sandbox.Reason{Code: code, Rule: rule, Article: article, Change: change}, false
	}
	switch {
	case r.State != Given || !r.Revoked.IsZero():
		return no(CodeRevoked, "the consent was revoked", revoke, "ask the person for a new consent")
	case at.Before(r.Receipt.NotBefore):
		return no(CodeNotYet, "the consent's term has not begun", grantor, "ask from its first second on")
	case !at.Before(r.Receipt.NotAfter):
		return no(CodeExpired, "the consent's term is over", grantor, "ask the person for a new consent")
	case r.Uses >= r.Receipt.MaxUses:
		return no(CodeUses, "the consent's number of uses is reached", grantor, "ask the person for a new consent")
	}
	return sandbox.Reason{}, true
}
