// Package grant carries a scenario (应用场景) from its filing to its grant (授权): one scenario, one data list, one
// authorisation (一场景一清单一授权). 依据: 龙华区公共数据资源授权运营实施方案(试行) 三(三); 福田区公共数据授权运营暂行管理办法
// 第十八条、第十九条; 光明区公共数据授权运营管理暂行办法 第十八条、第十九条.
//
//	filed → operator-approved → agency-approved → unit-approved → granted → expired | ended
//	any step → refused; unit-approved → ended
//
// The operator, the agency and every source unit that owns a listed dataset decide in that order, each within its
// working days; the units decide beside each other and one refusal refuses the whole. Then the operator, the agency,
// every unit and every partner sign one service agreement, and the last signature makes the Grant. A step past its due
// time stays pending and is flagged: silence is never consent. When the operator files for itself it still makes the
// first decision, so that three signed decisions stand behind every grant.
//
// Decisions and signatures bind to digests (SM3): ListDigest over the canonical data list, AgreementDigest over the
// whole filing. Functions here are pure: they take a Scenario and the time and give the next Scenario, the old one is
// unchanged. The caller has already checked the SM2 signature of the statement and who its signer works for.
//
// Errors are Invalid (a rule of the filing), Denied (not this party's decision), Conflict (out of order, twice, or over
// other contents) and Unavailable (a due date beyond the calendar). Prices, persistence and evidence are elsewhere.
package grant
