// What the page says in other languages: one table, English first. `make` looks every text up here; what is not in the
// table stays English. Texts with gaps, {0} and {1}, are told by `tell`; where a figure makes a plural of a text, both
// forms stand there: "{0} take|{0} takes".
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
];

const columns = Object.keys(LANGUAGES);

/** The language that was chosen, else English. */
export const language = () => (localStorage.getItem(KEY) in LANGUAGES ? localStorage.getItem(KEY) : "en");

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

/** Choose a language; the page is loaded again, as every part of it says something. */
export function choose(name) {
  localStorage.setItem(KEY, name);
  location.reload();
}

/** Of every text how many languages have it, for tests. */
export const rows = () => TABLE;
