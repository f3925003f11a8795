// Package sandbox holds the nouns of the authorised operation domain (公共数据授权运营域): typed identifiers, roles, grades,
// money, decisions, answers and errors. Standard library only; every other package may import it. go doc ./sandbox is
// the bilingual glossary (中英对照).
//
// The flow, one line per arrow: package, Chinese term, evidence event.
//
//	unit → connectors/file → batch        读取与校验   –
//	     → attest/channel                 密封推送     –
//	     → ingest: classify, pseudonym    分级与假名   ingest.committed
//	     → vault                          密封入库     (same event: manifest digest, key commitment)
//	officer of the unit → classify       分级确认     classification.confirmed
//	agency → classify                    重新分级     rules.adopted, classification.regraded
//	operator → grant                      场景申请     scenario.filed, scenario.decided, agreement.signed, grant.issued
//	vault → desensitize → run → vault     脱敏视图     view.sealed, key.erased
//	author → algo → jail/record           算法录制     algo.approved, algo.refused, algo.withdrawn
//	      → algo/compile                  算法编译     algo.asked
//	      → algo/opaque → jail            隔离运行     algo.ran
//	owner, agency → mpc/he/scorecard      评分模型     scoring.model.filed, scoring.model.approved, scoring.model.withdrawn
//	asker → policy → mpc/he               密态评分     scoring.decided, scoring.scored
//	asker → policy, query                 授权判定     question.decided
//	     → vault → columnar               域内计算     run.computed
//	     → mpc, mpc/join                  多方计算     shares.planned, shares.pushed, shares.computed, shares.aborted
//	     → egress                         出域审核     egress.checked
//	reviewers → egress                    双人审批     review.voted
//	     → release                        密封出域     release.sent
//	subject → consent                     个人授权     consent.given, consent.revoked
//	insurer → run → release               单人查询     claim.answered, claim.refused
//	     → meter → bill                   计量与账单   usage.metered, invoice.issued
//	     → attest → opdomain-verify       存证与核验   bundle.exported, evidence.erased
//	witnesses → attest/witness            存证见证     witnesses.set
//	keys → attest/keys, attest/sm/pki     密钥与证书   key.rotated, key.erased, certificates.issued, identity.renewed, identity.revoked
package sandbox
