"""Sentences in fourteen scripts, written for the tests."""

from __future__ import annotations

SENTENCES = {
    "Latin": (
        "Where can I renew my library card?",
        "Der Zug nach München fährt heute von Gleis sieben ab.",
        "Où puis-je trouver une pharmacie ouverte après 20 h ?",
        "Çocuklar bahçede top oynarken yağmur başladı.",
        "Thư viện mở cửa từ tám giờ sáng đến sáu giờ chiều.",
        "Łódka płynęła powoli wzdłuż brzegu jeziora.",
    ),
    "Cyrillic": (
        "Библиотека открыта с девяти утра до шести вечера.",
        "Де знаходиться найближча аптека?",
        "Влакът за София тръгва от трети коловоз.",
    ),
    "Greek": ("Η βιβλιοθήκη είναι ανοιχτή από τις εννέα το πρωί.", "Πού είναι το κοντινότερο φαρμακείο;"),
    "Arabic": ("المكتبة مفتوحة من التاسعة صباحا حتى السادسة مساء.", "قطار تهران از سکوی سوم حرکت می‌کند."),
    "Hebrew": ("הספרייה פתוחה מתשע בבוקר עד שש בערב.", "איפה בית המרקחת הקרוב?"),
    "Devanagari": ("पुस्तकालय सुबह नौ बजे से शाम छह बजे तक खुला रहता है।", "सबसे नज़दीकी दवा की दुकान कहाँ है?"),
    "Bengali": ("গ্রন্থাগার সকাল নয়টা থেকে সন্ধ্যা ছয়টা পর্যন্ত খোলা থাকে।",),
    "Tamil": ("நூலகம் காலை ஒன்பது மணி முதல் மாலை ஆறு மணி வரை திறந்திருக்கும்.",),
    "Thai": ("ห้องสมุดเปิดตั้งแต่เก้าโมงเช้าถึงหกโมงเย็น", "ร้านขายยาที่ใกล้ที่สุดอยู่ที่ไหน"),
    "Han": ("图书馆从早上九点开到下午六点。", "最近的藥局在哪裡？"),
    "Kana": ("図書館は朝九時から夕方六時まで開いています。", "いちばん近いコンビニはどこですか？"),
    "Hangul": ("도서관은 아침 아홉 시부터 저녁 여섯 시까지 엽니다.", "가장 가까운 약국은 어디에 있나요?"),
    "Georgian": ("ბიბლიოთეკა ღიაა დილის ცხრიდან საღამოს ექვსამდე.",),
    "Ethiopic": ("ቤተ መጻሕፍቱ ከጠዋቱ ሦስት ሰዓት ጀምሮ ክፍት ነው።",),
}
ALL = tuple(sentence for sentences in SENTENCES.values() for sentence in sentences)
