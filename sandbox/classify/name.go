package classify

// surnames: the single-character ones of the Hundred Family Surnames and of today's registers, then traditional forms.
const surnames = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤温康施文牛樊葛邢安齐易乔伍庞颜倪庄聂章鲁岳翟殷詹申欧耿关兰焦俞左柳甘祝包宁尚符舒阮柯纪梅童凌毕单季裴霍涂成苗谷盛曲翁冉骆蓝路游辛靳管柴蒙鲍华喻祁蒲房滕屈饶解牟艾尤阳时穆农司卓古吉缪简车项连芦麦褚娄窦戚岑景党宫费卜冷晏席卫米柏宗瞿桂全佟应臧闵苟邬边卞姬师和仇栾隋商刁沙荣巫寇桑郎甄丛仲虞敖巩明佘池查麻苑迟邝官封谈匡鞠惠荆乐冀郁胥南班储原栗燕楚鄢劳谌奚皮粟冼蔺楼盘满闻位厉伊仝区郜海阚花权强帅屠豆朴盖练廉禹井祖漆巴丰支卿国狄平计索宣晋相初门云容敬来扈晁芮都普阙浦戈伏鹿薄邸雍辜羊阿乌傅萧阎丘植扬台岐衷仆旷招禤亶苌睢揣爨妙竹粘羿诺候线卯铁税种巨糜稽宇保戢蹇释海山南雒原逮虎琚冮敬补续冶呙綦郸阚靖佀伞是盍" +
	"水窃昌凤俞酆鲍常危钮诸湛滑柳杭洪裘缪干解经昝郦伯崔车侯宓蓬郗仰秋仇暴甘钭戎祖束幸韶蓟印宿怀邰鄂咸籍赖蔺蒙池乔阴鬱能苍双莘贡逄姬申扶堵冉宰雍郤璩桑濮寿通扈冀郏农别晏充慕茹习宦艾鱼向古慎戈廖庾终暨居衡步耿满弘匡寇广禄东殳沃利蔚越夔隆师厍晁勾融訾那空曾毋沙乜养丰巢蒯后荆红游竺逯益桓公晋法汝鄢钦归岳帅缑亢况有琴商牟墨哈谯笪年爱仉佼矫肇撒仪鹏化矣户尧呼回律战油真源么青占银元信代鄞忻揭付芈胶种甯佴候闾逯亓仵郇邴郄柏勇圣言福伦行衣冰刀坚才修旷斐但银扎拉索尕旦次德仁央罡" +
	"張劉陳楊黃趙吳孫馬許韓馮鄧蔣葉蘇呂盧鐘譚陸範賈韋鄒龍賀顧龔邵萬錢嚴湯齊喬龐顏莊聶魯歐關蘭寧紀畢單駱藍饒盧羅鄭謝蕭曾閻簡連塗賴詹應闕遊麥項鄔賓鍾衛溫鮑倫莫鄺黎鳳諸榮談儲厲權練豐國計門來雲東勞"

// wordly surnames are everyday words as well: inside a run of text they begin a name only behind a word that announces one or
// before a title.
const wordly = "平尚律归区费明满法游有和时元计全生来从自后前年月日水项向应关相包支解通连管国官文农单能空经真那红青银行言衣才修但次公门都养种户化回呼战油代信印危干坚勇福德仁圣益越隆广终居衡步习寿贡束充于"

// working surnames end words that stand before a title: 担任主任, 值班医生, 主管护士, 随车医生.
const working = "任班管车师官政校部"

// particles are in hardly any given name.
const particles = "在的了被是就都也把让给从到着过和与及或但而"

// compounds are surnames of two characters, traditional forms included.
const compounds = `欧阳 上官 司马 诸葛 东方 皇甫 尉迟 公孙 令狐 慕容 司徒 夏侯 端木 独孤 南宫 长孙 宇文 轩辕 百里 东郭 呼延 闻人 澹台 公冶 申屠 太史 赫连 钟离 鲜于 闾丘 司空
 亓官 巫马 公西 乐正 宗政 濮阳 淳于 单于 太叔 仲孙 万俟 左丘 西门 东门 南门 公羊 谷梁 拓跋 叶赫 纳兰 完颜 爱新 第五 微生 梁丘 羊舌 司寇 司城 子车 颛孙 漆雕 壤驷 夹谷 宰父 段干 即墨 达奚 哥舒 范姜 张简 张廖 陆费
 歐陽 司馬 諸葛 東方 尉遲 公孫 獨孤 南宮 長孫 軒轅 東郭 聞人 澹臺 赫連 鍾離 鐘離 鮮于 宗政 濮陽 淳于 單于 太史 萬俟 西門 張簡 張廖 範姜 陸費`

// givenCharacters are those that given names are mostly made of; in running text a name needs one.
const givenCharacters = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉萍红娥玲芬燕彬鹏浩宇轩涵怡欣建国文志海波辉峰云龙飞林梅兰竹菊春夏秋冬雪冰雨晴晨曦阳光辰星月亮天宏宁安康健福禄寿喜庆祥瑞吉利荣贵富财宝珍珠珊瑚琳琅琪琦瑶璐璇瑾瑜瑛莹莉莎莲荷菲芸芷若茜茹茵蓉蕾薇蓓蕊萱蔓黛黎佳嘉家俊帅彦彤思琴琼雅雯霖震霆雷电振兴旺盛昌隆泰和顺正义仁礼智信忠孝廉洁贤良善德道学博渊源远志毅恒坚定诚真成功业立功名扬武威猛虎豹狮彪骏马驰骋奔腾飞跃翔鸿鹄鹰雁凤凰鸾燕莺雀瑞麟麒彩虹霓丹青紫翠碧绿蓝素洁白皓皎晓晖昕旭昊昆仑岳山川江河湖海洋波涛澜清澈洁净润泽洪泉溪涧深淼森林木柏松柳杨桐桦枫楠栋梁材柱根枝叶苗禾田野原地坤乾元亨利贞永久长生民族中华夏汉唐宋元明清世代传承继绍祖宗先后前卫东南西北方圆全有为人一二三四五六七八九十万亿子丁卯甲乙丙庚辛壬癸小大少老新旧古今年岁时代景气象形容貌美好妙姿娇媚婷婉娴淑惠慧贤妍婕妮娣娅姗姣姝婧媛嫣嫦妤嫒琬琰璞玮珏珂玥珺琛瑄瑗璋璟钧铭锋锐钢铁铜鑫钊钰铎锦镇锡鸣凡丰彰启哲睿聪颖灵巧能力才艺术韬略谋策书诗词画墨香馨芝芹芮苑苏葵蒙薪航舟帆舰船辽宜宾客君臣士卿相侯王帝皇尧舜禹汤泽广厚朴实在同心协力合作群众社会工农商兵胜凯旋捷报喜乐欢笑悦怀念恩爱慈悲悟空善缘希望梦想愿景致远炜烨炳焕煜燃灿炎焱煌熙熠照耀铮锴锟镕钦衍衡徽征循律育培均增城域疆邦郡邑都京沪津渝川滇黔桂湘鄂皖赣浙闽粤琼冀晋豫陕甘青藏新伯仲叔季孟霄云霞露霜弘泓涌洲浦浚淳淇滨漫潇潮澄瀚灏濠友朋佩伦伊仪任佐佑侃俐倩健偉傲儒允兆党兵冠凌凝利刚剑劲励勋勤匡升卓占卫又可吟含呈周咏哈品唯喆嘉园固圣堂堃堇塬墨壮多夫奇奎奕好如妃存孜季学宗宣宪宸容宽密寒寅寒尔尚展屏岑岚岩峥峻崇崎巍川州帆干庭廷延建开异弛弟强归彧影微徐忆怀怡恋恬恺悠情惟意愉慕懿成拓振捷授揽攀教敬斌斐斯施旋日旦旻昀昂昌易星映昭昱晏晔晗晟景晶智暄曙朔朗木本权束来杭极果枚柔柯栩桃梓棋棠楚楷榕槐樱毓气水汀汝沁沛沐河治泊泳洛津洵济涓润淑淘渝渲温游湛溢滔演漪濡牧特献玄率理琢琮瑟瑶璧甜用甫电男盈盼直省眉真睦石矜硕碧磐祎祺禄禧秉秦程稚积稳穗穹立竞端笑筠箐简籽精糖紫红纯纲纳绍经维缤罡羽群翀翌翎翰翼耀耘聆育胜胤能腾自至致舒良芃芊芙苇苒茂范荃莘莞菁萌落葆蓁蔚蕙藏虹融行衡裕要见观言让记诗诣语诺谊谦谨豪贝贞赐赞赫起越路跃轶辅辰达迅迎运进远连迪迦逸遥道邵采野金钟银铃锐长门闯闻间阅陆降陶隽雁雅集雍青韦韵音项顺颂颖颜风飒馥馨高魁鲁鸥鹤黎齐龄偉強國華麗麗靜軍勇傑濤輝峰雲龍飛鵬寶貴慶榮麟鳳蘭蓮瑩穎慧潔嬌嬋詩雅麗敏淑惠芬芳玲美珠珍珮佩瑜瑋琪雯霖雪宏志明德義仁禮智信忠孝廣建興業學術書畫達遠運進連選邁鄉鄭銘鋒銳鋼鐵錦鎮鐘鑫開關陽陳隆際雙雞離難雲電霞靈靜韻順頌頤頻額顏願類顯風飄養館馬駿騰驊驚魚鮮鳥鳴鴻鵑鵬鶴鸞鹿麗麥黃點齊龍" +
	"亚琨妹爽妞囡婵聪环茗飘滢绮绣缨婀嫚嬿姮嫘媚妩姹妗妙娆姆姑嫂妆燊犇喆淼垚翀弢劼赟彧祎暐昶玘煊焘焰熠熹燚珣琎琤瑀璘璠瓒瓅畅畴皑皙盎眸睦瞳砚砾碩祁祈祐祯禅禹禾秀秋科秸稷竣笙笛筝筱箫箬篁籁粲精绅绎绛绦绫绮绯绰绿缃缇缘缦罗翔翡耕耿聃聘肃肖肱胧胭脉腊腾膺臻舸艮艳节芄芍芒芙芥芦芩芪芫芭芯花芳芸芽苓苔苹茁茂茄茉茗茵茶荀荃荆荇荐荟荧荻莅莎莓莘莛莨菀菁菇菏菡菱菲萃萌萍萝萤萦萧葆葛葩董葳蒂蒋蒙蒲蓁蓓蓝蓬蔓蔚蔡蕃蕊蕙蕴薇薛藜藤蘅虔虞蛟蜜蝉蝶衣衫裳裴襄覃觅言誉认讯论访证评译试该详诵说请诸课调谊谐谕谚谧谱豫贞贡贯贶贸赋赏赐赛赣超越趣路跃踏车轲轼辑辙辛辞边迁迈迎近返迤迪迭述迷追退送适逊逢逸遂邈邓邢邯郁郅郎郝郗部郭郸鄂鄞酉酬醇采释里重量鉴针钊钗钥钰钱钵钻铁铃铄铎铠铨铮铿链锁锋错锡锦键镁镕镜镭镯镶间闰闲闵闽阁阅阔阗防阿陀附陌陕陵隐隗难雄雏雕雷霁霍霏霓霜霞霭青靓靖静革鞍韧韩韬页顶顷颀颂颐颗题颢颦飒飙食饶馗馥驭驰驹驼驿骁骄骅骆骊骋骐骞骥骧鸣鸯鸳鸽鸿鹂鹃鹅鹉鹏鹰麒麓麟麦麾黔默鼎齐齐可宜影姬荔"

// lastNever end things, places and illnesses that begin with a surname, and no given name.
const lastNever = "病症炎癌瘤痛疸障疹路街道巷村镇乡区县省局院厂店校所部处费额率号码款税片丸剂膏液囊粉证件表单位局站场库馆厅楼桥费险限型类级式法度数们的了着过吗呢吧"

// transliterated characters write foreign and ethnic names.
const transliterated = "阿依努尔买提古丽江木拉汗别克吐鲁洪艾力孜热娜帕夏提合买卡斯木迪巴图巴特额尔德尼其木格苏那仁高娃乌云布赫扎西次仁卓玛旦增多吉白央金达娃尼玛索朗平措洛桑格桑拉姆边巴德吉贡布加措才让措毛尕藏约翰玛丽亚斯特安东尼奥罗伯特里克森马丁尔顿史密不都沙曼明玉素甫司义彼得夫什洛托莎凯文杰森威廉肉孜吾古阿衣汗提依沙江里夏克日"

// notNames are words of everyday tables that look like names otherwise.
const notNames = ` 高血压 安全 平安 方法 时间 和平 于是 白酒 计划 任务 常见 左侧 右侧 全部 程序 成功 水平 项目 方向 解决 应用 应该 管理 管道 石油 毛巾 花生 宁静 宣传 文化 文件 曲线 沙发 祖国 通知 通过 雷达 施工 国家 全国 全年 全体 成年 成人 明确 明细 支付 支出 支持 连续 和谐 相关 来源 包含 关闭 关系 容易 平均 边界 农民 农业 高中 高级 初中 初级 大学 时代 安装 房屋 国有 江苏 云南 海南 广东 黎明 温和 应急 石膏 甘草 黄芪 白术 金银花 马上 马铃薯 明天 万元 万一 单身 单独 成员
 高温 高度 高压 高层 高速 高尿酸 高血糖 高血脂 黄金 黄色 黄瓜 黄豆 白色 白天 白菜 白细胞 白蛋白 金属 金额 金融 金色 石材 石头 水果 水泥 水电 花费 花园 花卉 马路 牛奶 牛肉 羊肉 鱼类 米饭 毛发 毛病 皮肤 皮疹 温度 温水 温泉 温馨 方案 方便 方式 方面 方案 文明 文本 文字 文档 时候 时长 时段 常用 常规 常住 常年 常委 平时 平台 平面 平方 平板 安静 安排 安置 安徽 安心 成本 成分 成果 成立 成绩 成都 程度 严重 严格 单价 单元 单据 单纯 单侧 双侧 双方 双向 全身 全面 全麻 全程 全职 全区 全市 全省 有效 有限 有关 有时 有力 有无 有氧 经济 经过 经理 经营 经常 通用 通信 通道 通常 支架 支部 支线 支气管 管辖 管线 管材 计算 计量 计费 计入 商业 商品 商务 商标 农村 农药 农田 国内 国外 国际 国庆 国民 江河 江南 江西 江湖 河南 河北 海洋 海关 海外 海报 海鲜 云端 云计算 雷击 龙头 龙虾 路线 路径 路段 路面 车辆 车间 车牌 车站 边缘 边境 池塘 门诊 门店 门票 门牌 门口 门户 东部 东方 南方 南部 西部 北方 左右 左手 右手 向上 向下 向量 应收 应付 应对 应答 应当 任何 任命 任期 原因 原则 原料 原始 原有 师傅 师范 师资 司机 司法 司令 景区 景色 景观 项链 解释 解放 解除 解剖 符合 符号 关注 关节 关怀 关于 相对 相似 相同 相应 初步 初期 初始 初诊 来自 来访 来院 来电 连接 连锁 连带 查询 查看 查体 查房 查验 谈话 谈判 封闭 封装 封面 党员 党委 党校 官方 官员 席位 席次 储蓄 储备 储存 储值 包装 包括 包裹 包块 乐器 乐园 乐观 武器 武汉 武术 康复 康宁 强度 强制 强调 强化 华东 华南 华北 华侨 沙滩 沙漠 沙石 燕窝 燕麦 郎中 桑叶 荆芥 柏树 柳树 杨树 杨梅 李子 梅花 梅毒 桂花 桂圆 桂林 兰花 兰州 苏州 苏打 苏联 杭州 温州 郑州 徐州 常州 许可 许多 许昌 曾经 曾用 曾祖 何时 何处 何况 于今 余额 余量 余热 程控 程式 童年 童装 童话 曲折 曲面 古代 古迹 古典 吉祥 吉林 吉他 万能 万岁 万事 万科 万达 章程 章节 史料 史学 陶瓷 陶器 祝贺 祝福 祝愿 顾客 顾问 顾虑 贺卡 贺电 钟表 钟点 钱包 钱币 孔径 孔隙 汤药 汤圆 房产 房间 房租 房价 房颤 田地 田径 田园 田野 林业 林地 林木 周期 周围 周边 周年 周末 周岁 周转 范围 范本 范例 胡椒 胡同 胡萝卜 朱砂 蓝色 蓝牙 蓝图 红色 红肿 红细胞 红外 青年 青岛 青霉素 青少年 银行 银川 元旦 元素 元件 信息 信用 信号 信托 信箱 代码 代表 代理 代办 代谢 户籍 户口 户型 户主 居民 居住 居家 居委 公司 公里 公园 公安 公共 公证 公开 公式 公告 步骤 步行 步态 利率 利息 利润 利用 幸福 幸运 印章 印刷 印象 能源 能力 能量 能够 空气 空调 空间 空白 空腹 别墅 别名 别人 充电 充值 充血 充分 法律 法人 法规 法院 化疗 化验 化工 化学 化肥 行为 行业 行政 行程 衣物 衣服 真实 真菌 真空 回访 回复 回收 回执 呼吸 呼叫 律师 战略 战争 油漆 油料 油脂 青菜 德国 德育 德州 次数 次日 次品 旦夕 仁义 言语 言论 福利 福建 福州 福田 伦敦 伦理 修理 修改 修复 修养 但是 拉链 拉萨 扎实 冰箱 冰雪 冰糖 刀具 才能 才艺 坚持 坚果 勇敢 圣诞 年龄 年度 年级 年月 年限 年检 爱好 爱心 爱国 况且 归还 归属 归档 习惯 习题 怀孕 怀疑 寿命 寿险 贡献 贡品 广告 广场 广州 广泛 广西 东莞 东西 东北 隆重 隆起 越南 越来 越野 后期 后续 后果 后天 红包 红旗 益处 益生菌 养老 养护 养殖 养生 丰富 丰收 有偿 种类 种植 种子 终止 终端 终身 居然 衡量 衡阳 滑坡 滑雪 危险 危害 危机 危重 洪水 洪涝 干净 干部 干预 干燥 干咳 经验 经费 经络 伯伯 伯父 秋季 秋天 暴雨 暴力 束缚 咸菜 咸鱼 阴性 阴影 阴天 阴凉 双休 双曲 宰杀 那么 那些 那里 空军 哈尔滨 安庆 安阳 安顺 黄山 黄石 黄冈 连云港 和田 石家庄 马鞍山 温岭 应城 乐山 商丘 宁波 宁夏 包头 巴中 万州 云浮 武威 张掖 张家口 张家界 舒适 舒张压 舒缓 和解 和睦 牛皮癣 单纯疱疹 白癜风 白血病 金黄色 满意 满足 满月 满员 权利 权限 权益 权重 祖父 祖母 祖传 官司 农历 农场 麻醉 麻木 麻疹 麻将 米粉 米色 屠宰 练习 豆腐 豆浆 盖章 平衡 平稳 平原 平房 平卧 计时 计分 宣布 宣告 相机 相片 初恋 门禁 云层 容积 容量 敬老 敬业 来宾 来回 都市 都是 普通 普查 普及 普外 浦东 伏天 薄弱 薄膜 羊毛 乌龟 乌龙茶 `

// clinicalHeads begin the names of illnesses and parts of the body.
const clinicalHeads = `甲状腺 良性 恶性 中耳 白内障 前列腺 冠状 冠心 阑尾 支气管 子宫 卵巢 乳腺 膀胱 胆囊 胰腺 十二指肠 胃肠 肝脏 肾脏 心脏 青光眼 先天 后天 多发 单发 反复 阵发 持续 间断 轻度 中度 重度`

// clinical words begin with, end in or hide what looks like a name in records and notices.
const clinical = ` 感谢 致谢 谢谢 多谢 医保 社保 低保 参保 环保 报销 退费 检查 复查 查房 情况 病况 没有 具有 现有 所有 未有 含有 伴有 病房 住房 药房 乳房 心房 报告 原发 继发 新生 宣教 银行 平稳 平素 尚可 律齐 开庭 游客 生产 消费 消费品 明年 今年 去年 秋季 春季 夏季 冬季 满一年 一年 平和 术后 术前 化疗 放疗 治疗 理疗 护理 康复 入院 出院 住院 转院 门诊 急诊 会诊 就诊 初诊 复诊 确诊 诊断
 血压 血糖 血脂 体温 呼吸 心率 脉搏 神志 精神 食欲 睡眠 大小便 饮食 药物 用药 服药 停药 口服 静脉 肌肉 皮下 注射 输液 输血 手术 麻醉 切口 伤口 换药 拆线 引流 活动 受限 水平 方向 常规 方案 应用 平时 给予 予以 嘱其 随访 定期 建议 注意 休息 避免 加强 继续 观察 监测 记录
 明显 显著 正常 异常 增大 缩小 清晰 模糊 规则 左肺 右肺 双肺 左肾 右肾 左眼 右眼 左耳 右耳 左手 右手 左足 右足 左下 右下 左上 右上 双下 双上 全腹 全身 上腹 下腹 中年 青年 老年 成年 儿童 幼儿 婴儿 旅居 返深 度假 缴费 收费 计费 免费 自费 公费 费用 复印 签字 签名 代办 陪同 家属
 于是 由于 关于 对于 至于 位于 处于 鉴于 终于 大于 小于 等于 高于 低于 属于 因于 既往 以往 目前 现在 当时 时间 方面 方式 方法 部位 程度 性质 单位 统一 社会 信用 代码 香港 身份 护照 通行 电话 地址 号码 姓名 性别 年龄 民族 职业 婚姻 籍贯 户籍 户口 车架 驾驶 小型 汽车 追尾
 黄疸 黄染 白细胞 红细胞 水肿 水痘 石膏 毛细 金黄 包块 包括 甘油 胡萝卜 温水 凉水 高热 高烧 低热 发热 高危 严重 严密 常有 偶有 时有 时而 有时 有关 有无 有力 查体 查看 查出 查无 车祸 车上 路上 路边 门口 门前 楼上 楼下 别人 本人 他人 何时 任何 如何 为何 项目 各项 事项 专项 万一 千万 百万
 安静 安排 安置 安装 平安 不安 公安 治安 保安 国家 全国 我国 外国 中国 出国 归国 国内 国外 管理 血管 气管 支管 主管 尿管 胃管 导管 插管 拔管 管道 成功 完成 形成 造成 成分 成为 合成 组成 构成 变成 达成 计划 统计 总计 合计 共计 估计 设计 方向 转向 倾向 单纯 简单 清单 名单 账单 订单 保单 `

// nameCues stand before a name in running text; titles after one.
const nameCues = `姓名 患者 患儿 病人 病员 产妇 联系人 家属 母亲 父亲 丈夫 妻子 儿子 女儿 配偶 监护人 户主 申请人 经办人 负责人 投保人 被保险人 受益人 医师 医生 护士 主任 主治 责任护士 陪同人 代理人 法定代表人 法人代表 收件人 寄件人 收货人 持卡人 参保人
 当事人 申请者 报案人 本人 居民 户名 业主 租户 学生 老师 同事 邻居 哥哥 姐姐 弟弟 妹妹 之子 之女 之妻 其子 其女 其妻 其夫 其母 其父 送诊人 陪护 签名 签字 记录者 主刀 术者 会诊 交给 转告 我叫 名叫 叫做`

const personTitles = `先生 女士 小姐 太太 医生 医师 护士 主任 教授 大夫 同志 老师 院长 同学 经理 师傅 奶奶 爷爷 阿姨 叔叔 律师 法官 警官 书记 局长 处长 科长 主任医师`

// notAfterName are characters and words that begin what follows a name, and end no name.
const notAfterName = `于 因 在 的 与 及 已 来 自 诉 称 主 患 出 入 就 住 是 系 经 由 把 被 给 向 对 从 到 需 将 可 请 拟 昨 曾 近 反 持 联 复 男 女 性 现 身 手 电 共 陪 签 致 为 和 之 以 等 有 无 既 查 转 说 要 想 会 跟 同 去 上 下 前 后 年 月 日 岁 号 先 未 不 也 都 又 再 还 并 但 而 或 则 此 该 其 这 那 办 领 交 收 送 接 到 曾 拨 打 报 申 参 办理 提 填 写 完 发 处 居 家 户`

// isName accepts two to four Chinese characters that start with a surname, and transliterated names with a middle dot, in
// characters a to b. On its own this is weak evidence; columns need more. likely says that the given name is made of
// characters that given names are made of.
func (sc *Scanner) isName(a, b int) (ok, likely bool) {
	n := b - a
	if n < 2 || n > 24 {
		return false, false
	}
	dots, part := 0, 0
	for i := a; i < b; i++ {
		switch {
		case isDot(sc.r[i]):
			if dots++; part < 1 {
				return false, false
			}
			part = 0
		case isHan(sc.r[i]):
			part++
		default:
			return false, false
		}
	}
	if dots > 0 {
		return part > 0 && n >= 4, true
	}
	if n > 4 || sc.t.lastNever.has(sc.r[b-1]) {
		return false, false
	}
	text := sc.text(a, b)
	if sc.t.notNames.has(text) || n > 1 && sc.t.short.has(text) || sc.t.regions.has(text) {
		return false, false
	}
	if n >= 3 && sc.t.compounds.has(sc.text(a, a+2)) {
		return true, true
	}
	switch {
	case !sc.t.surnames.has(sc.r[a]):
		return n == 4 && sc.allTransliterated(a, b), false
	case n == 4: // a married name keeps both surnames
		return sc.t.surnames.has(sc.r[a+1]) && !sc.t.diseases.has(text), false
	case n == 3:
		return true, sc.t.given.has(sc.r[a+1]) && sc.t.given.has(sc.r[a+2])
	}
	return true, sc.t.given.has(sc.r[a+1])
}

func (sc *Scanner) allTransliterated(a, b int) bool {
	for _, r := range sc.r[a:b] {
		if !sc.t.transliterated.has(r) {
			return false
		}
	}
	return true
}

func isDot(r rune) bool {
	return r == '·' || r == '•' || r == '・' || r == '‧' || r == '∙' || r == '.'
}

// nameAt gives the number of characters of a name that begins at character i of a run of Han characters and dots ending at n
// (exclusive), and the confidence; cued says that the word before announces one.
func (sc *Scanner) nameAt(i, n int, cued bool) (length, confidence int) {
	if k := sc.dotted(i, n); k > 0 {
		if sc.longest(sc.t.notAfterName, i, i+1) > 0 && !sc.t.transliterated.has(sc.r[i]) {
			return 0, 0 // 由, 和 … before it
		}
		return k, 60
	}
	if cued && n < len(sc.r) && sc.r[n] == ' ' { // 姓名 王 芳
		if n == i+1 && sc.t.surnames.has(sc.r[i]) || n == i+2 && sc.longest(sc.t.compounds, i, n) == 2 {
			if k := sc.spaced(i, n-i); k > 0 {
				return k, 60
			}
		}
	}
	if cued { // what stands alone behind its label, whatever its characters
		k := i
		for k < n && isHan(sc.r[k]) && k-i < 5 {
			k++
		}
		if k-i >= 2 && k-i <= 4 && sc.longest(sc.t.everyday, i, k) < k-i && (k == n && (k == len(sc.r) || !isHan(sc.r[k]))) {
			return k - i, 50
		}
	}
	family := 1
	if n-i >= 3 && sc.longest(sc.t.compounds, i, min(n, i+2)) == 2 {
		family = 2
	} else if !sc.t.surnames.has(sc.r[i]) {
		return 0, 0
	}
	if i+family < n && sc.longest(sc.t.titles, i+family, n) > 0 { // 赵主任, 王阿姨
		if family == 2 || cued || i == 0 || !isHan(sc.r[i-1]) ||
			!sc.t.wordly.has(sc.r[i]) && !sc.t.working.has(sc.r[i]) && sc.longest(sc.t.everyday, i-1, n) < 2 {
			return family, 50
		}
		return 0, 0
	}
	most := 0
	for k := 1; k <= 2 && i+family+k <= n; k++ {
		r := sc.r[i+family+k-1]
		known := sc.t.given.has(r) && !sc.t.particles.has(r)
		if !isHan(r) || !cued && !known || k == 2 && !known && sc.longest(sc.t.notAfterName, i+family+k-1, n) > 0 {
			break
		}
		if k == 2 && sc.longest(sc.t.titles, i+family+k-1, n) > 0 {
			break
		}
		most = k
	}
	if most == 0 {
		return 0, 0
	}
	end := i + family + most
	titled := end < n && sc.longest(sc.t.titles, end, n) > 0
	if cued && family == 1 && sc.longest(sc.t.everyday, i, n) > most { // 主任查房
		return 0, 0
	}
	if family == 2 || cued || titled {
		return family + most, 60
	}
	if i > 0 && isHan(sc.r[i-1]) && sc.t.wordly.has(sc.r[i]) {
		return 0, 0
	}
	if i > 0 && isHan(sc.r[i-1]) && sc.longest(sc.t.everyday, i-1, n) > 1 { // a word around it
		return 0, 0
	}
	if sc.longest(sc.t.everyday, i, n) > 0 || sc.longest(sc.t.diseases, i, n) > 0 || i+1 < n && sc.longest(sc.t.diseases, i+1, n) > 0 || i+1 < n && sc.longest(sc.t.clinicalHeads, i+1, n) > 0 || sc.longest(sc.t.short, i, n) > 0 || i+1 < n && sc.longest(sc.t.everyday, i+1, n) > 1 {
		return 0, 0
	}
	if k := sc.longest(sc.t.regions, i, n); k > 0 {
		return 0, 0
	}
	if sc.t.lastNever.has(sc.r[end-1]) || end < n && sc.t.lastNever.has(sc.r[end]) && !sc.t.given.has(sc.r[end]) && sc.longest(sc.t.notAfterName, end, n) == 0 {
		return 0, 0
	}
	return family + most, 30
}

// spaced gives the length of a name at i with one space behind its surname, or 0; a word that announces a name stands before it.
func (sc *Scanner) spaced(i, family int) int {
	gap := i + family
	if gap+1 >= len(sc.r) || sc.r[gap] != ' ' || sc.used[gap+1] || !isHan(sc.r[gap+1]) {
		return 0
	}
	from := gap + 1
	n := from
	for n < len(sc.r) && n-from < 5 && !sc.used[n] && isHan(sc.r[n]) {
		n++
	}
	if sc.longest(sc.t.titles, from, n) > 0 { // 王 医生
		return family
	}
	given := 0
	for given < 2 && from+given < n {
		r := sc.r[from+given]
		known := sc.t.given.has(r) && !sc.t.particles.has(r)
		if n-from > 2 && (!known || given == 1 && sc.longest(sc.t.titles, from+given, n) > 0) {
			break
		}
		given++
	}
	var word [24]byte
	joined := append(append(word[:0], sc.text(i, gap)...), sc.text(from, from+given)...)
	if given == 0 || sc.t.everyday.has(joined) || sc.longest(sc.t.everyday, from, from+given) > 1 || sc.longest(sc.t.nameCues, from, n) > 0 {
		return 0
	}
	return family + 1 + given
}

// dotted gives the length of a name with a middle dot at i, all parts of which are Han.
func (sc *Scanner) dotted(i, n int) int {
	end, dots, part := 0, 0, 0
	for k := i; k < n && k-i < 20; k++ {
		if r := sc.r[k]; isDot(r) && r != '.' {
			if part == 0 || part > 8 {
				return end
			}
			dots, part = dots+1, 0
			continue
		}
		if dots > 0 && part >= 2 && (sc.longest(sc.t.notAfterName, k, n) > 0 && !sc.t.transliterated.has(sc.r[k]) || part >= 6) {
			break
		}
		if part++; dots > 0 {
			end = k + 1 - i
		}
	}
	return end
}
