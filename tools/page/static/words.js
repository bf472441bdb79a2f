// SPDX-License-Identifier: Apache-2.0
// The words of the page, English and Chinese.
const WORDS = {
  parts: ["Parts of the page", "页面各部分"], image: ["Image", "图像"], compare: ["Compare", "对比"],
  lambda: ["Lambda", "Lambda"], video: ["Video", "视频"], camera: ["Camera", "摄像头"], language: ["Language", "语言"],
  token: ["Token from the terminal", "终端显示的令牌"], open: ["Open", "打开"], source: ["Choose an image", "选择图像"],
  choose: ["Choose an image", "选择图像"], drop: ["or drop or paste one, or take a sample:", "也可以拖入、粘贴，或使用示例："],
  samples: ["Samples", "示例"], sample: ["Sample {0}: drawn people", "示例 {0}：绘制的人物"], model: ["Model", "模型"],
  threshold: ["Least keypoint score", "关键点最低得分"], limbs: ["Limbs", "肢体"], points: ["Keypoints", "关键点"],
  ids: ["Ids", "编号"], boxes: ["Boxes", "框"], maps: ["Maps", "特征图"], none: ["none", "无"],
  heatmaps: ["heatmaps", "热力图"], pafs: ["part affinity fields", "部位亲和场 (PAF)"], which: ["of", "对象"],
  all: ["all", "全部"], zoom: ["Zoom", "缩放"], smaller: ["Smaller", "缩小"], whole: ["Whole image", "整图"],
  larger: ["Larger", "放大"], left: ["left", "左侧"], right: ["right", "右侧"], save: ["Save", "保存"],
  command: ["The same in a terminal", "等效命令"], first: ["First", "第一个"], second: ["Second", "第二个"],
  "same-boxes": ["Boxes for top-down models from the first bottom-up one", "自顶向下模型使用自底向上模型的框"],
  times: ["Milliseconds, and pixels from the first model", "毫秒，以及与第一个模型的像素差"], people: ["people", "人数"],
  preprocessing: ["preprocessing", "预处理"], network: ["network", "网络"], decoding: ["decoding", "解码"],
  mean: ["mean px", "平均像素差"], median: ["median px", "像素差中位数"],
  "lambda-hint": ["Drag a box around people who overlap: lambda chooses which of them the network finds.",
    "在重叠的人物周围拖出一个框：lambda 决定网络在框中找到谁。"],
  "box-numbers": ["left, top, width, height; …", "左, 上, 宽, 高; …"], clear: ["Clear", "清除"],
  "lambda-value": ["Lambda", "Lambda"], show: ["Show", "显示"], "at-slider": ["at the slider", "滑块处"],
  both: ["0 and 1", "0 与 1"], merged: ["merged", "合并"], "by-hand": ["by hand", "手动"],
  "whole-image": ["whole image", "整幅图像"], detected: ["detector {0}", "检测器 {0}"], "people-of": ["people of {0}", "{0} 的人物"],
  "choose-video": ["Choose a video", "选择视频"], start: ["Start", "开始"], cancel: ["Cancel", "取消"], stop: ["Stop", "停止"],
  progress: ["Progress", "进度"], smooth: ["Steady", "平滑"], "no-lambda": [
    "No open model takes lambda: start the page with a MIPNet network trained with --lambda.",
    "没有支持 lambda 的模型：请用带 --lambda 训练的 MIPNet 网络启动。"],
  working: ["Working …", "计算中 …"],
  "found-parts": ["People: {0}, in {1} ms: preprocessing {2}, network {3}, decoding {4}",
    "{0} 人，{1} 毫秒：预处理 {2}，网络 {3}，解码 {4}"],
  "sweep-answer": ["Boxes: {0}; {1} steps of lambda in one call: {2} ms; moving the slider: {3} ms",
    "{0} 个框，一次调用 {1} 个 lambda：{2} 毫秒；滑动 {3} 毫秒"],
  "too-large": ["That is more than {0} MB: make it smaller.", "超过 {0} MB：请缩小。"],
  "not-shown": ["The browser cannot show this image.", "浏览器无法显示该图像。"],
  busy: ["Another video is at work: wait for it, or cancel it.", "另一个视频正在处理：请等待或取消。"],
  sending: ["Sending the video …", "正在发送视频 …"], frames: ["{0} of {1} frames; people in the last: {2}", "{0}/{1} 帧，最近一帧 {2} 人"],
  done: ["Done: {0} frames", "完成：{0} 帧"], cancelled: ["Cancelled after {0} frames", "已取消，共 {0} 帧"],
  short: ["The video ends after {0} of {1} frames: it is cut short or damaged.", "视频在 {1} 帧中的第 {0} 帧结束：文件被截断或损坏。"],
  rate: ["{0} frames a second, {1} ms from frame to answer; people: {2}", "每秒 {0} 帧，延迟 {1} 毫秒，{2} 人"],
  "no-camera": ["The browser gives no camera: allow it, and open the page as localhost or over https.",
    "浏览器未提供摄像头：请授权，并以 localhost 或 https 打开页面。"],
  gone: ["The server does not answer: is it still running in the terminal?", "服务器没有响应：终端中是否仍在运行？"],
  shown: ["Image; people: {0}", "图像，含 {0} 人"],
};
// What the server refuses, in Chinese; it says it in English.
const REFUSALS = [
  [/^Another page asked/, "请求来自其他页面：只接受本页面。"],
  [/^This page answers only under its own address/, "请使用终端显示的地址打开本页面。"],
  [/^The token is missing or wrong/, "令牌缺失或错误：请打开终端显示的地址。"],
  [/^Too many ask at once/, "请求过多：请稍后再试。"],
  [/^That is more than (\S+) MB/, "超过 $1 MB：请缩小。"],
  [/^Nothing whole arrived in (\S+) seconds/, "$1 秒内未收到完整内容：请重试。"],
  [/^That took more than (\S+) seconds/, "计算超过 $1 秒：请使用较小的图像。"],
  [/^The process that computes ended/, "计算进程已终止，可能内存不足：请使用较小的图像。"],
  [/^A fault of the program \((\w+)\)/, "程序错误（$1），详见终端。"],
  [/^A GIF may move/, "GIF 可能是动画：请将图像另存为 PNG，或将动画存为视频。"],
  [/^This is not an image of a kind that is read: (.+)\.$/, "不支持的图像格式，请使用：$1。"],
  [/^This image has more than 50 million pixels/, "图像超过 5000 万像素：请缩小。"],
  [/^This image is damaged or cut short/, "图像已损坏或不完整：请重新保存。"],
  [/^This is not a video of a kind that is read: (.+)\.$/, "不支持的视频格式，请使用：$1。"],
  [/^Another video is at work/, WORDS.busy[1]],
  [/^This video is not here any more/, "该视频已被新的视频取代。"],
  [/^No box lies on the image/, "图像上没有框：请拖出一个围住人物的框。"],
];
const LANGUAGES = ["en", "zh"];
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("zh") ? "zh" : "en");

export function translated(sentence) {
  const [pattern, words] = (language === "zh" && REFUSALS.find(([one]) => one.test(sentence))) || [];
  return pattern ? words.replace("$1", pattern.exec(sentence)[1]) : sentence;
}

export function t(key, ...values) {
  const words = WORDS[key][LANGUAGES.indexOf(language)];
  return values.reduce((text, value, place) => text.replaceAll(`{${place}}`, value), words);
}

export function translate(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.dataset.t);
  for (const element of root.querySelectorAll("[data-t-label]")) element.ariaLabel = t(element.dataset.tLabel);
}

export function speak(chosen) {
  language = chosen;
  localStorage.setItem("language", language);
  translate();
}

export const spoken = () => language;
