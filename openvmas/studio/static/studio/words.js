// What the page says in other languages: one table, English first. `make` looks every text up here; what is not in the
// table stays English. Texts with gaps, {0} and {1}, are told by `tell`; where a figure makes a plural of a text, both
// forms stand there: "{0} take|{0} takes".
import { LABELS } from "./labels.js";

const KEY = "studio.language";

export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", zh: "中文" };

const TABLE = [
  ["Music for your video", "Musik für dein Video", "Música para tu vídeo", "为你的视频配乐"],
  ["Drop a video in. It is watched, a plan of the music appears on a timeline, and you hear the music while it is written. Nothing goes to anybody else.", "Zieh ein Video herein. Es wird angesehen, ein Plan der Musik erscheint auf einer Zeitleiste, und du hörst die Musik, während sie geschrieben wird. Nichts verlässt deinen Rechner.", "Suelta aquí un vídeo. Se analiza, aparece un plan de la música en una línea de tiempo y oyes la música mientras se escribe. Nada sale de tu equipo.", "把视频拖进来。系统会观看视频，在时间线上给出音乐方案，并在创作时让你听到音乐。所有内容都留在你的电脑上。"],
  ["Drop a video here", "Video hierher ziehen", "Suelta un vídeo aquí", "将视频拖到这里"],
  ["Choose a video", "Video auswählen", "Elegir un vídeo", "选择视频"],
  ["Projects", "Projekte", "Proyectos", "项目"],
  ["Search projects", "Projekte suchen", "Buscar proyectos", "搜索项目"],
  ["Saved", "Gespeichert", "Guardado", "已保存"],
  ["Saving…", "Speichert …", "Guardando…", "正在保存…"],
  ["History", "Verlauf", "Historial", "历史"],
  ["Theme", "Farben", "Tema", "主题"],
  ["Keys", "Tasten", "Teclas", "快捷键"],
  ["Plan", "Plan", "Plan", "方案"],
  ["Sound", "Klang", "Sonido", "声音"],
  ["Takes", "Fassungen", "Tomas", "版本"],
  ["Pick a sound", "Wähle einen Klang", "Elige un sonido", "选择一种声音"],
  ["Press one to hear it with your video, written for it just now.", "Drück eine an und hör sie zu deinem Video, eben dafür geschrieben.", "Pulsa una para oírla con tu vídeo, escrita ahora mismo para él.", "点击即可配合视频试听，刚刚为它而作。"],
  ["Or something else", "Oder etwas anderes", "O algo distinto", "或者换一种"],
  ["Use it", "Nehmen", "Usarla", "使用"],
  ["Again", "Noch einmal", "Otra vez", "再来一次"],
  ["The whole video", "Das ganze Video", "Todo el vídeo", "整个视频"],
  ["Words", "Worte", "Palabras", "描述"],
  ["In your own words: instruments, styles, feelings, tempo.", "In deinen Worten: Instrumente, Stile, Gefühle, Tempo.", "Con tus palabras: instrumentos, estilos, sentimientos, tempo.", "用你自己的话：乐器、风格、情绪、速度。"],
  ["Mood", "Stimmung", "Ambiente", "情绪"],
  ["Tempo", "Tempo", "Tempo", "速度"],
  ["Plan again", "Neu planen", "Planificar de nuevo", "重新规划"],
  ["Words for this section", "Worte für diesen Abschnitt", "Palabras para esta sección", "本段描述"],
  ["Energy", "Energie", "Energía", "能量"],
  ["Write its music again", "Seine Musik neu schreiben", "Reescribir su música", "重写本段音乐"],
  ["No music here", "Hier keine Musik", "Aquí sin música", "此处无音乐"],
  ["Music here again", "Hier wieder Musik", "Aquí con música", "恢复音乐"],
  ["Lock", "Sperren", "Bloquear", "锁定"],
  ["Unlock", "Entsperren", "Desbloquear", "解锁"],
  ["Split at playhead", "Hier teilen", "Dividir aquí", "在此分割"],
  ["Merge with next", "Mit nächstem verbinden", "Unir con la siguiente", "与下一段合并"],
  ["Accent (H)", "Akzent (H)", "Acento (H)", "重音 (H)"],
  ["Split (S)", "Teilen (S)", "Dividir (S)", "分割 (S)"],
  ["Merge (M)", "Verbinden (M)", "Unir (M)", "合并 (M)"],
  ["Volume (V)", "Lautstärke (V)", "Volumen (V)", "音量 (V)"],
  ["Music", "Musik", "Música", "音乐"],
  ["Film", "Film", "Película", "画面"],
  ["Original", "Original", "Original", "原声"],
  ["Sections", "Abschnitte", "Secciones", "段落"],
  ["Accents", "Akzente", "Acentos", "重音"],
  ["Picture", "Bild", "Imagen", "画面分析"],
  ["energy of the picture", "Energie des Bildes", "energía de la imagen", "画面能量"],
  ["cut", "Schnitt", "corte", "剪切"],
  ["beat of the picture", "Schlag des Bildes", "pulso de la imagen", "画面节拍"],
  ["accent", "Akzent", "acento", "重音"],
  ["onset of the music", "Einsatz der Musik", "ataque de la música", "音乐起音"],
  ["speech", "Sprache", "voz", "语音"],
  ["both together", "beide zusammen", "ambos a la vez", "二者重合"],
  ["Score", "Musik schreiben", "Componer", "配乐"],
  ["Another take", "Neue Fassung", "Otra toma", "再来一版"],
  ["More energy", "Mehr Energie", "Más energía", "更有活力"],
  ["Calmer", "Ruhiger", "Más calma", "更平静"],
  ["Darker", "Dunkler", "Más oscuro", "更阴暗"],
  ["Less busy", "Weniger los", "Menos denso", "更简洁"],
  ["only from here on", "nur ab hier", "solo desde aquí", "仅从此处起"],
  ["Take it away", "Mitnehmen", "Llévatela", "导出"],
  ["Mix again", "Neu mischen", "Mezclar de nuevo", "重新混音"],
  ["Listen", "Anhören", "Escuchar", "试听"],
  ["Download", "Herunterladen", "Descargar", "下载"],
  ["Download the video", "Video herunterladen", "Descargar el vídeo", "下载视频"],
  ["ZIP for editors", "ZIP für den Schnitt", "ZIP para editores", "剪辑用 ZIP"],
  ["All files", "Alle Dateien", "Todos los archivos", "全部文件"],
  ["Licence and credit", "Lizenz und Nennung", "Licencia y créditos", "许可与署名"],
  ["Use these settings", "Diese Einstellungen nehmen", "Usar estos ajustes", "使用这些设置"],
  ["A note", "Eine Notiz", "Una nota", "备注"],
  ["Cancel", "Abbrechen", "Cancelar", "取消"],
  ["Close", "Schließen", "Cerrar", "关闭"],
  ["Delete", "Löschen", "Eliminar", "删除"],
  ["Rename", "Umbenennen", "Renombrar", "重命名"],
  ["Copy", "Kopieren", "Copiar", "复制"],
  ["Mix", "Mischung", "Mezcla", "混音"],
  ["Original sound", "Originalton", "Sonido original", "原声"],
  ["Music against original sound", "Musik gegen Originalton", "Música frente al original", "音乐与原声的比例"],
  ["Music under speech", "Musik unter Sprache", "Música bajo la voz", "语音下的音乐"],
  ["Drop the original sound", "Originalton weglassen", "Quitar el sonido original", "去掉原声"],
  ["Delivered for", "Geliefert für", "Entrega para", "交付平台"],
  ["Platform", "Plattform", "Plataforma", "平台"],
  ["Loudness", "Lautheit", "Sonoridad", "响度"],
  ["Made by", "Gemacht von", "Hecha por", "来源"],
  ["Sounds like", "Klingt wie", "Suena como", "听起来像"],
  ["Joins of the recording", "Nähte der Aufnahme", "Uniones de la grabación", "录音的接点"],
  ["Result", "Ergebnis", "Resultado", "结果"],
  ["Source", "Quelle", "Fuente", "原曲"],
  ["The recording", "Die Aufnahme", "La grabación", "录音原件"],
  ["Change the joins", "Nähte ändern", "Cambiar las uniones", "修改接点"],
  ["Join a bar earlier", "Naht einen Takt früher", "Unión un compás antes", "接点提前一小节"],
  ["Join a bar later", "Naht einen Takt später", "Unión un compás después", "接点推后一小节"],
  ["Lock the join", "Naht festhalten", "Fijar la unión", "锁定接点"],
  ["Unlock the join", "Naht freigeben", "Soltar la unión", "解锁接点"],
  ["Refuse the join", "Naht ablehnen", "Rechazar la unión", "拒绝接点"],
  ["It stays as it is (Enter)", "Sie bleibt, wie sie ist (Enter)", "Se queda como está (Intro)", "保持不变（Enter）"],
  ["It is never made again (Del)", "Sie wird nie wieder gemacht (Entf)", "No se vuelve a hacer (Supr)", "不再使用（Delete）"],
  ["Choose a span", "Spanne wählen", "Elegir un tramo", "选择片段"],
  ["Keep a span of the recording whole, or leave it out", "Eine Spanne der Aufnahme ganz behalten oder weglassen", "Conservar entero un tramo de la grabación, o dejarlo fuera", "完整保留或略去录音中的一段"],
  ["Next best arrangement", "Nächstbeste Anordnung", "Siguiente mejor arreglo", "次优编排"],
  ["One change back", "Eine Änderung zurück", "Un cambio atrás", "撤回一步"],
  ["Make this take", "Diese Fassung machen", "Hacer esta toma", "生成此版本"],
  ["What you have decided", "Was du entschieden hast", "Lo que has decidido", "你的决定"],
  ["Arrow keys move a join from bar line to bar line, with Ctrl by a frame; Enter locks it, Delete refuses it. Drag over the recording to choose a span.", "Pfeiltasten schieben eine Naht von Taktstrich zu Taktstrich, mit Strg um ein Bild; Enter hält sie fest, Entf lehnt sie ab. Zieh über die Aufnahme, um eine Spanne zu wählen.", "Las flechas mueven una unión de compás en compás, con Ctrl un fotograma; Intro la fija, Supr la rechaza. Arrastra sobre la grabación para elegir un tramo.", "方向键按小节线移动接点，加 Ctrl 按帧移动；Enter 锁定，Delete 拒绝。在录音上拖动可选择片段。"],
  ["Start of the span", "Anfang der Spanne", "Inicio del tramo", "片段起点"],
  ["End of the span", "Ende der Spanne", "Fin del tramo", "片段终点"],
  ["Keep it whole", "Ganz behalten", "Conservarlo entero", "完整保留"],
  ["Leave it out", "Weglassen", "Dejarlo fuera", "略去"],
  ["Begin here", "Hier beginnen", "Empezar aquí", "从这里开始"],
  ["Choose nothing (Esc)", "Nichts wählen (Esc)", "No elegir nada (Esc)", "取消选择（Esc）"],
  ["Join {0} of {1}", "Naht {0} von {1}", "Unión {0} de {1}", "接点 {0}/{1}"],
  ["{0}, from {1} to {2} of the recording, {3}", "{0}, von {1} nach {2} der Aufnahme, {3}", "{0}, de {1} a {2} de la grabación, {3}", "{0}，从录音 {1} 到 {2}，{3}"],
  ["free", "frei", "libre", "自由"],
  ["A take is being made.", "Eine Fassung wird gemacht.", "Se está haciendo una toma.", "正在生成版本。"],
  ["Working it out…", "Wird ausgerechnet …", "Calculando…", "正在计算…"],
  ["Shown, not heard yet: make a take of it to hear it.", "Gezeigt, noch nicht zu hören: mach eine Fassung daraus, um es zu hören.", "Se muestra, aún no se oye: haz una toma para oírlo.", "仅供预览，尚不能听：生成版本后即可试听。"],
  ["As in {0}", "Wie in {0}", "Como en {0}", "与 {0} 相同"],
  ["Its file names no maker and no licence: that you may use it is for you to make sure.", "Die Datei nennt weder Urheber noch Lizenz: dass du sie verwenden darfst, musst du selbst sicherstellen.", "El archivo no nombra autor ni licencia: asegúrate tú de que puedes usarlo.", "文件未注明作者和许可：请自行确认你有权使用。"],
  ["Begins at {0}", "Beginnt bei {0}", "Empieza en {0}", "始于 {0}"],
  ["Kept whole: {0}", "Ganz behalten: {0}", "Entero: {0}", "完整保留：{0}"],
  ["Left out: {0}", "Weggelassen: {0}", "Fuera: {0}", "略去：{0}"],
  ["Refused: {0}", "Abgelehnt: {0}", "Rechazada: {0}", "已拒绝：{0}"],
  ["Cannot be together with the rest: {0}", "Geht nicht mit dem Rest zusammen: {0}", "No cabe con el resto: {0}", "与其余部分不相容：{0}"],
  ["Take back: {0}", "Zurücknehmen: {0}", "Retirar: {0}", "撤销：{0}"],
  ["There is no bar line for it there.", "Dort gibt es keinen Taktstrich dafür.", "Ahí no hay línea de compás para ella.", "那里没有可用的小节线。"],
  ["1 join", "1 Naht", "1 unión", "1 个接点"],
  ["{0} joins", "{0} Nähte", "{0} uniones", "{0} 个接点"],
  ["tempo changed by {0} % at most", "Tempo um höchstens {0} % verändert", "tempo cambiado un {0} % como máximo", "速度变化最多 {0} %"],
  ["{0} of {1} of your accents met", "{0} von {1} deiner Akzente getroffen", "{0} de {1} de tus acentos cumplidos", "满足你的重音 {0}/{1}"],
  ["Add a recording", "Aufnahme hinzufügen", "Añadir una grabación", "添加录音"],
  ["Use it as the music", "Als Musik nehmen", "Usarla como música", "用作音乐"],
  ["Let the music sound like it", "Musik soll so klingen", "Que la música suene así", "让音乐与之相似"],
  ["More", "Mehr", "Más", "更多"],
  ["Next", "Weiter", "Siguiente", "下一步"],
  ["Skip", "Überspringen", "Omitir", "跳过"],
  ["Begin", "Los", "Empezar", "开始"],
  ["Writing music", "Musik wird geschrieben", "Escribiendo música", "正在创作音乐"],
  ["Mixing and measuring", "Mischen und Messen", "Mezclando y midiendo", "正在混音与测量"],
  ["Watching the picture", "Das Bild wird angesehen", "Mirando la imagen", "正在观看画面"],
  ["Listening for speech", "Sprache wird gesucht", "Buscando voz", "正在识别语音"],
  ["Sections and accents as a list", "Abschnitte und Akzente als Liste", "Secciones y acentos en lista", "段落与重音列表"],
  ["Section {0} of {1} ", "Abschnitt {0} von {1} ", "Sección {0} de {1} ", "第 {0} 段，共 {1} 段 "],
  ["{0} to {1}", "{0} bis {1}", "{0} a {1}", "{0} 至 {1}"],
  ["Accent {0} of {1} ", "Akzent {0} von {1} ", "Acento {0} de {1} ", "第 {0} 个重音，共 {1} 个 "],
  ["{0} fitted", "{0} passend", "{0} ajustado", "{0}（自动匹配）"],
  ["{0} as the whole", "{0} wie das Ganze", "{0} como el conjunto", "{0}（与整体相同）"],
  ["Plans anew at {0} BPM; locked sections and your own accents stay.", "Plant neu mit {0} BPM; gesperrte Abschnitte und eigene Akzente bleiben.", "Planifica de nuevo a {0} BPM; las secciones bloqueadas y tus acentos se quedan.", "以 {0} BPM 重新规划；锁定的段落和你的重音保留。"],
  ["Plans anew with the tempo that fits the picture best; locked sections and your own accents stay.", "Plant neu mit dem Tempo, das am besten zum Bild passt; gesperrte Abschnitte und eigene Akzente bleiben.", "Planifica de nuevo con el tempo que mejor encaja con la imagen; las secciones bloqueadas y tus acentos se quedan.", "以最适合画面的速度重新规划；锁定的段落和你的重音保留。"],
  ["{0}, {1} yours", "{0}, davon {1} deine", "{0}, {1} tuyos", "{0}，其中 {1} 个是你的"],
  [" by chance {0}", " zufällig {0}", " por azar {0}", " 随机为 {0}"],
  ["In {0}, the rest stays as it is (R)", "In {0}, der Rest bleibt, wie er ist (R)", "En {0}; el resto queda como está (R)", "在{0}中，其余部分不变 (R)"],
  ["Planned again: {0} section.|Planned again: {0} sections.", "Neu geplant: {0} Abschnitt.|Neu geplant: {0} Abschnitte.", "Planificado de nuevo: {0} sección.|Planificado de nuevo: {0} secciones.", "已重新规划：{0} 段。"],
  ["Heard as: {0}.", "Verstanden als: {0}.", "Entendido como: {0}.", "理解为：{0}。"],
  ["In every section without words of its own; heard when you press Score.", "Gilt für jeden Abschnitt ohne eigene Worte; zu hören, wenn du „Musik schreiben“ drückst.", "En cada sección sin palabras propias; se oye al pulsar Componer.", "适用于没有单独描述的每一段；按“配乐”后即可听到。"],
  ["locked", "gesperrt", "bloqueada", "已锁定"],
  ["energy {0} %", "Energie {0} %", "energía {0} %", "能量 {0} %"],
  ["{0} variation|{0} variations", "{0} Variante|{0} Varianten", "{0} variación|{0} variaciones", "{0} 个版本"],
  [", {0} of {1}", ", {0} von {1}", ", {0} de {1}", "，{0}/{1}"],
  ["{0} before it", "{0} davor", "{0} antes", "前面还有 {0} 个"],
  ["Locked sections keep the music of {0}.", "Gesperrte Abschnitte behalten die Musik von {0}.", "Las secciones bloqueadas conservan la música de {0}.", "锁定的段落保留{0}的音乐。"],
  ["a moment left", "noch einen Moment", "queda un momento", "马上就好"],
  ["about {0} s left", "noch etwa {0} s", "quedan unos {0} s", "还剩约 {0} 秒"],
  ["about {0} min left", "noch etwa {0} min", "quedan unos {0} min", "还剩约 {0} 分钟"],
  ["{0} is finished", "{0} ist fertig", "{0} está lista", "{0}已完成"],
  ["{0}, at other levels", "{0}, mit anderen Pegeln", "{0}, con otros niveles", "{0}，音量已改"],
  ["{0}, true peak {1}", "{0}, True Peak {1}", "{0}, pico real {1}", "{0}，真峰值 {1}"],
  ["What fits: {0}", "Was passt: {0}", "Lo que encaja: {0}", "契合情况：{0}"],
  ["Accents of the music on moments of the picture, against chance: z {0}. From 1.65 on it is no accident.", "Akzente der Musik auf Momenten des Bildes, gegen den Zufall: z {0}. Ab 1,65 ist es kein Zufall.", "Acentos de la música en momentos de la imagen, frente al azar: z {0}. Desde 1,65 no es casualidad.", "音乐重音落在画面时刻上（相对随机）：z {0}。1.65 以上即非偶然。"],
  ["in time with the picture: {0}", "im Takt des Bildes: {0}", "a tiempo con la imagen: {0}", "与画面合拍：{0}"],
  ["very good", "sehr gut", "muy bien", "很好"],
  ["good", "gut", "bien", "好"],
  ["fair", "mäßig", "regular", "一般"],
  ["by chance", "zufällig", "por azar", "随机"],
  ["poor", "schwach", "flojo", "较差"],
  ["{0} of {1} moments has an onset within {2} ms.|{0} of {1} moments have an onset within {2} ms.", "{0} von {1} Momenten hat einen Einsatz innerhalb von {2} ms.|{0} von {1} Momenten haben einen Einsatz innerhalb von {2} ms.", "{0} de {1} momentos tiene un ataque a menos de {2} ms.|{0} de {1} momentos tienen un ataque a menos de {2} ms.", "{1} 个时刻中有 {0} 个在 {2} 毫秒内有起音。"],
  ["{0}, by chance {1}", "{0}, zufällig {1}", "{0}, por azar {1}", "{0}，随机为 {1}"],
  ["correlation {0}", "Korrelation {0}", "correlación {0}", "相关 {0}"],
  ["{0} written again", "{0} neu geschrieben", "{0} reescrito", "{0} 已重写"],
  ["seed {0}", "Startwert {0}", "semilla {0}", "种子 {0}"],
  ["from {0}", "aus {0}", "de {0}", "源自{0}"],
  ["Plan, voice and levels are those of {0}.", "Plan, Stimme und Pegel sind die von {0}.", "Plan, voz y niveles son los de {0}.", "方案、音色和音量与{0}相同。"],
  ["Delete {0}?", "{0} löschen?", "¿Eliminar {0}?", "删除{0}？"],
  ["Rename {0}", "{0} umbenennen", "Renombrar {0}", "重命名{0}"],
  ["matched {0}", "angeglichen {0}", "igualada {0}", "已匹配 {0}"],
  ["{0}; you hear the original.", "{0}; du hörst das Original.", "{0}; oyes el original.", "{0}；你听到的是原声。"],
  ["No music yet. Press Score to have it written.", "Noch keine Musik. Drück „Musik schreiben“.", "Aún no hay música. Pulsa Componer para que se escriba.", "还没有音乐。按“配乐”开始创作。"],
  ["{0} more video follows by itself, in a project of its own; see the list.|{0} more videos follow by themselves, each in a project of its own; see the list.", "{0} weiteres Video folgt von selbst in einem eigenen Projekt; siehe Liste.|{0} weitere Videos folgen von selbst, jedes in einem eigenen Projekt; siehe Liste.", "{0} vídeo más sigue solo, en su propio proyecto; mira la lista.|{0} vídeos más siguen solos, cada uno en su proyecto; mira la lista.", "另外 {0} 个视频会自动处理，各自成为一个项目；见列表。"],
  ["{0} is empty (0 bytes); choose another file, or export it again.", "{0} ist leer (0 Bytes); wähle eine andere Datei oder exportiere sie neu.", "{0} está vacío (0 bytes); elige otro archivo o expórtalo de nuevo.", "{0} 是空文件（0 字节）；请选择其他文件或重新导出。"],
  ["Choose {0} again; it goes on at {1} %.", "Wähle {0} noch einmal; es geht bei {1} % weiter.", "Elige {0} otra vez; sigue en el {1} %.", "再次选择 {0}；将从 {1} % 继续。"],
  ["Uploading {0}", "{0} wird hochgeladen", "Subiendo {0}", "正在上传 {0}"],
  ["{0} of {1}", "{0} von {1}", "{0} de {1}", "{0}/{1}"],
  ["Try it with “{0}”", "Probier es mit „{0}“", "Pruébalo con «{0}»", "用“{0}”试试"],
  ["mp4, mov, mkv, webm or avi; up to {0} and {1} minute|mp4, mov, mkv, webm or avi; up to {0} and {1} minutes", "mp4, mov, mkv, webm oder avi; bis {0} und {1} Minute|mp4, mov, mkv, webm oder avi; bis {0} und {1} Minuten", "mp4, mov, mkv, webm o avi; hasta {0} y {1} minuto|mp4, mov, mkv, webm o avi; hasta {0} y {1} minutos", "mp4、mov、mkv、webm 或 avi；最大 {0}，最长 {1} 分钟"],
  ["Section {0} is locked; unlock it first.", "Abschnitt {0} ist gesperrt; entsperre ihn zuerst.", "La sección {0} está bloqueada; desbloquéala primero.", "第 {0} 段已锁定；请先解锁。"],
  ["A section lasts at least {0} s; move the playhead away from the border and split there.", "Ein Abschnitt dauert mindestens {0} s; geh mit dem Abspielkopf von der Grenze weg und teile dort.", "Una sección dura al menos {0} s; aleja el cursor del borde y divide allí.", "每段至少 {0} 秒；请将播放头移离边界再分割。"],
  ["There is an accent at {0} already; move to another frame.", "Bei {0} ist schon ein Akzent; geh zu einem anderen Bild.", "Ya hay un acento en {0}; ve a otro fotograma.", "{0} 处已有重音；请换一帧。"],
  ["Mark (I)", "Markieren (I)", "Marcar (I)", "标记 (I)"],
  ["Redo {0} to {1}", "{0} bis {1} neu", "Rehacer {0} a {1}", "重写 {0} 至 {1}"],
  ["Marked from {0} to {1}.", "Markiert von {0} bis {1}.", "Marcado de {0} a {1}.", "已标记 {0} 至 {1}。"],
  ["The mark is gone.", "Die Markierung ist weg.", "La marca se ha quitado.", "标记已取消。"],
  ["Take the mark away (Esc)", "Markierung wegnehmen (Esc)", "Quitar la marca (Esc)", "取消标记 (Esc)"],
  ["Score the video first; then any part can be written again.", "Lass erst Musik schreiben; dann kann jeder Teil neu geschrieben werden.", "Compón primero; después se puede reescribir cualquier parte.", "请先配乐；之后任何部分都可重写。"],
  ["The marked part plays again and again.", "Der markierte Teil läuft immer wieder.", "La parte marcada se repite.", "循环播放标记的部分。"],
  ["Section {0} plays again and again.", "Abschnitt {0} läuft immer wieder.", "La sección {0} se repite.", "循环播放第 {0} 段。"],
  ["Plays on.", "Spielt weiter.", "Sigue.", "继续播放。"],
  ["Written by {0}: {1}.", "Geschrieben von {0}: {1}.", "Escrita por {0}: {1}.", "由 {0} 创作：{1}。"],
  ["its sound is nearer to recorded music", "ihr Klang ist näher an aufgenommener Musik", "su sonido se parece más a la música grabada", "声音更接近真实录音"],
  ["strong moments are to be met", "starke Momente sollen getroffen werden", "hay momentos fuertes que acertar", "需要贴合强烈的画面时刻"],
  ["your hits are to be met exactly", "deine Akzente sollen genau getroffen werden", "tus acentos deben acertarse con exactitud", "需要精确贴合你的重音"],
  ["it is better heard as {0}", "sie ist besser als {0} zu erkennen", "se reconoce mejor como {0}", "听起来更像 {0}"],
  ["speech covers the music anyway", "Sprache verdeckt die Musik ohnehin", "la voz tapa la música de todos modos", "语音反正会盖过音乐"],
  ["only it can sound like a recording", "nur sie kann wie eine Aufnahme klingen", "solo ella puede sonar como una grabación", "只有它能模仿录音"],
  ["it wrote the locked music", "sie hat die gesperrte Musik geschrieben", "escribió la música bloqueada", "锁定的音乐由它创作"],
  ["nothing speaks for another voice", "nichts spricht für eine andere Stimme", "nada favorece a otra voz", "没有更合适的音色"],
  ["The voice that fits this video best", "Die Stimme, die am besten zum Video passt", "La voz que mejor encaja con este vídeo", "最适合此视频的音色"],
  ["learned from recordings", "aus Aufnahmen gelernt", "aprendida de grabaciones", "从录音学习"],
  ["notes by rule, played on sampled instruments", "Noten nach Regeln, auf gesampelten Instrumenten gespielt", "notas por reglas, con instrumentos muestreados", "按规则写谱，用采样乐器演奏"],
  ["Each take says which voice wrote it, and why that one.", "Jede Fassung sagt, welche Stimme sie schrieb und warum.", "Cada toma dice qué voz la escribió y por qué.", "每个版本都会说明由哪种音色创作以及原因。"],
  ["Takes come with MIDI and stems.", "Fassungen bringen MIDI und Einzelspuren mit.", "Las tomas traen MIDI y pistas separadas.", "版本附带 MIDI 和分轨。"],
  ["Any section can be written again by itself.", "Jeder Abschnitt kann einzeln neu geschrieben werden.", "Cualquier sección se puede reescribir por separado.", "任何一段都可单独重写。"],
  ["being written", "wird geschrieben", "escribiéndose", "创作中"],
  ["being finished", "wird fertig", "terminándose", "完成中"],
  ["waits", "wartet", "espera", "等待中"],
  ["failed", "fehlgeschlagen", "fallida", "失败"],
  ["cancelled", "abgebrochen", "cancelada", "已取消"],
  ["Accents on a beat", "Akzente auf einem Schlag", "Acentos en un pulso", "重音落在节拍上"],
  ["On a downbeat", "Auf einer Eins", "En un tiempo fuerte", "落在重拍上"],
  ["Waiting its turn", "Wartet, bis es dran ist", "Espera su turno", "排队中"],
  ["Starting", "Beginnt", "Empezando", "开始"],
  ["Planning", "Plant", "Planificando", "规划中"],
  ...LABELS,
];

const columns = Object.keys(LANGUAGES);

/** The language that was chosen, else English. */
export const language = () => (localStorage.getItem(KEY) in LANGUAGES ? localStorage.getItem(KEY) : "en");

/** Several things in a sentence: "1, 2, and 3". */
export const listed = (values) => new Intl.ListFormat(language()).format(values.map(String));

/** Of dates and times: the browser's own where the page is in English. */
export const locale = () => (language() === "en" ? undefined : language());

const column = columns.indexOf(language());
const known = column > 0 ? new Map(TABLE.map((row) => [row[0], row[column]])) : null;

/** A text in the language of the page. */
export const say = (text) => known?.get(text) ?? text;

const plural = new Intl.PluralRules(language());

/** A text with its gaps filled; of two forms the one that the first figure wants. */
export function tell(text, ...values) {
  const forms = say(text).split("|");
  const count = values.find((value) => typeof value === "number");
  const form = count === undefined || plural.select(count) === "one" ? forms[0] : forms.at(-1);
  return form.replace(/\{(\d)\}/g, (gap, index) => values[index] ?? gap);
}

/** A note of the plan's history, such as "Energy of section 2, accent at 0:01.00": each of its parts by itself. */
export function sayNote(note) {
  const part = (text) => {
    const values = text.match(/\d+:\d+\.\d+|\d+/g) ?? [];
    let index = 0;
    return tell(text.replace(/\d+:\d+\.\d+|\d+/g, () => `{${index++}}`), ...values);
  };
  const [parts, more] = note.split(/ and (\d+) more$/);
  const said = parts.split(", ").map((text) => part(text[0].toLowerCase() + text.slice(1)));
  const all = [...said, ...(more ? [`+${more}`] : [])].join(", ");
  return known ? all[0].toUpperCase() + all.slice(1) : note;
}

/** A take's own name in the language of the page: "Take 3" was given by the server, any other by the user. */
export const sayName = (name) => name.replace(/^Take (\d+)$/, (_, number) => tell("Take {0}", number));

/** Choose a language; the page is loaded again, as every part of it says something. */
export function choose(name) {
  localStorage.setItem(KEY, name);
  location.reload();
}

/** Of every text how many languages have it, for tests. */
export const rows = () => TABLE;
