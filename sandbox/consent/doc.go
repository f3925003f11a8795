// Package consent keeps what a person allowed (个人授权): the signed receipt, its revocation and its count of uses, and
// checks one question against it. A consent is bound to one person, one asker, one claim, one purpose, named fields, a
// term and a number of uses (全链路个人精准授权).
//
// 依据: 中华人民共和国个人信息保护法 第十四条、第十五条; 龙华区公共数据资源授权运营实施方案(试行) 九(二) 授权同意、最小必要、场景限制;
// 福田区公共数据授权运营暂行管理办法 第二十条; 福田区公共数据资源授权运营实施方案(试行)(征求意见稿) 八(四). Fields follow ISO/IEC TS
// 27560:2023 where it has them.
//
// Times are compared as instants to the nanosecond: NotBefore is inside the term, NotAfter is outside, whatever the zone
// they are written in. A revocation counts from the instant the domain takes it. A question that asks for one field too
// many is refused whole, never trimmed. The claim number itself never stands in a receipt, only its commitment.
//
// Functions are pure over a Record. The caller has checked the SM2 signature against the person's enrolled key, counts
// and persists a use in the same transaction as the delivery, and gives the asker the one code sandbox.CodeConsent for
// every refusal; the reasons here are for the person, the owner and auditors.
package consent
