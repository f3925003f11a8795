package mask

// values: operation|value|result. The identity numbers, cards and mobiles are made up: region 000000, prefixes that nobody issues.
const values = `
keep-6-4|440305199001011234|440305********1234
keep-6-4|4403051234|**********
keep-6-4|44030512345|440305*2345
keep-6-4||
keep-1-1|中|*
keep-1-1|中文|**
keep-1-1|中文字|中*字
keep-1-1|eé́x|e**x
keep-1-1|𠮷野家|𠮷*家
email|li.lei@example.com|l*****@example.com
email|a@example.com|*************
email|li@lei@example.com|******************
email|.li@example.com|***************
email|li@example|**********
email|li@example.c0m|**************
email|李雷@example.com|**************
email|li@-example.com|***************
email|li@example-.com|***************
email|li@example..com|***************
email-domain|li.lei@mail.example.com|l***@***.com
address|广东省深圳市龙华区民治街道春华路1号|广东省深圳市龙华区*********
address|深圳市龙华区民治街道|深圳市龙华区****
address|龙华区民治街道春华路1号|龙华区*********
address|北京市朝阳区建国路88号|北京市朝阳区******
address|上海市浦东新区世纪大道1号|上海市浦东新区******
address|新疆维吾尔自治区伊犁哈萨克自治州伊宁县某乡|新疆维吾尔自治区伊犁哈萨克自治州伊宁县**
address|江苏省苏州市昆山市玉山镇|江苏省苏州市昆山市***
address|内蒙古自治区呼和浩特市土默特左旗察素齐镇|内蒙古自治区呼和浩特市土默特左旗****
address|河北省唐山市路南区学院路1号|河北省唐山市路南区*****
address|广东省 深圳市 龙华区 民治街道|广东省 深圳市 龙华区*****
address|广东省深圳市龙华区|广东省深圳市龙华区
address|深圳龙华民治街道|********
address|深圳市民治街道春华小区3栋|*************
address|深圳市民乐工业区3栋|**********
address|深圳市春华小区3栋|*********
address|春华小区3栋|******
address|深圳市福城高新开发区1号|************
address|春华路18号龙华区|*********
address|龙华区民治街道城市花园3栋|龙华区**********
address|X市龙华区|*****
address|张三家住深圳市龙华区1号|************
address|深圳市张三家龙华区1号|***********
address|张三县民治街道1号|*********
address|李四省深圳市龙华区1号|***********
address|王五龙华区民治街道|*********
address|民治街道|****
address-short|深圳市龙华区民治街道春华路1号|深圳市龙华区***
surname|张三|张*
surname|欧阳娜娜|欧阳**
surname|欧阳|欧*
surname|歐陽娜娜|歐陽**
surname|诸葛孔明先生|诸葛****
surname|阿卜杜拉·买买提|阿***·***
surname|张三丰四五|*****
surname|张|*
surname|高血压病|高***
surname|龘三|**
surname|John Smith|J*** S****
surname|Maynard46 Mosciski958|M******** M**********
surname|Víctor493 O'Connell-Steuber|V******** O****************
surname|J. R. Tolkien|J* R* T******
surname|J|*
surname|J S|***
surname|One Two Three Four Five|***********************
surname|John  Smith|***********
surname|AB12345|*******
surname|John 王|******
last|John Smith|**********
surname|张 三|***
surname|张3|**
surname|·张三|***
surname|张三·|***
last|张三丰|**丰
last|阿卜杜拉·买买提|****·**提
plate|粤B12345|粤B***45
plate|粤B·12345|粤B·***45
plate|粤BD12345|粤B****45
plate|粤B1234学|粤B***4学
plate|粤B123456|粤B****56
plate|粤I12345|*******
plate|粤B1234|******
plate|粤B12O45|*******
plate|B12345|******
card|6222000000000009|622200******0009
card|6222 0000 0000 0009|6222 00** **** 0009
card|6222000000000000|****************
card|622200000000000|***************
card-short|6222 0000 0000 0009|6222 00***0009
mobile|13000000000|130****0000
mobile|130 0000 0000|130 **** 0000
mobile|+8613000000000|+86130****0000
mobile|+86 130-0000-0000|+86 130-****-0000
mobile|008613000000000|0086130****0000
mobile|+008613000000000|****************
mobile|12000000000|***********
mobile|1300000000|**********
mobile|１３０００００００００|***********
resident-id|00000019900101000X|000000********000X
resident-id|000000199001010004|******************
resident-id|000000900101001|000000******001
resident-id|00000019900101000|*****************
truncate-2|广东省|广东
truncate-2|中|中
`
