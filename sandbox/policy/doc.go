// Package policy gives one decision on one question before any key opens (授权判定): role, scenario, grant, purpose, class,
// column rules, engine × grade × hosting, bit budget, and for a single person the consent. Deny by default: a Decision
// allows only at the end of a complete evaluation, and the zero Facts deny everything.
//
// 依据: 龙华区公共数据资源授权运营实施方案(试行) 三(三) 一场景一清单一授权、三(四) 数据分级开发、六(二)2 不得二次授权或转授权;
// 福田区公共数据授权运营暂行管理办法 第十八条至第二十一条; 福田区公共数据资源授权运营实施方案(试行)(征求意见稿) 二(二)1(2) 双授权.
//
// A refusal is a value. Its reasons stand in the order of Order; each names the column, the rule, the article and the
// smallest change that would pass, and none depends on data, so the asker may see them all. The exception is DecideClaim:
// whether a person consented is itself about that person, so the asker sees sandbox.CodeConsent only and the reasons go
// to the person, the owner and auditors.
//
// Decide and DecideClaim are pure functions of Facts and question; they read no clock and store nothing. They do not
// check signatures, charge budgets or count uses: the caller does, with the same Facts, before a key opens. The rules
// are typed Go and not a policy language: they need state, clocks, counters and reasons, and stay at a few
// microseconds however many grants there are.
package policy
