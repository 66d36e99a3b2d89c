// Dragging by mouse, pen or finger: what is let go counts, what is cancelled does not.

/** A finger's drag that is let go in motion is no fling: else browsers take the next tap for the end of that. */
export function withoutFling(element, isDragged = () => true) {
  element.addEventListener("touchmove", (event) => isDragged() && event.preventDefault(), { passive: false });
}

/**
 * Let an element be dragged. grab() → whatever `move(from, event, start, isLast)` is to be given as `from`; start: where
 * the pointer went down, and how far the timeline was scrolled; cancel(): nothing of it counts.
 */
export function draggable(timeline, element, { grab, move, cancel = () => {} }) {
  withoutFling(element);
  element.addEventListener("pointerdown", (down) => {
    if (down.button !== 0) return;
    down.stopPropagation();
    element.setPointerCapture(down.pointerId);
    const start = { clientX: down.clientX, clientY: down.clientY, scrollLeft: timeline.scroll.scrollLeft };
    const from = grab();
    element.focus({ preventScroll: true });
    let hasMoved = false;
    const onMove = (event) => {
      hasMoved ||= Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > 2;
      if (hasMoved) move(from, event, start, false);
    };
    const finish = (event) => {
      element.removeEventListener("pointermove", onMove);
      for (const name of ["pointerup", "pointercancel"]) element.removeEventListener(name, finish);
      if (!hasMoved) return;
      cancel();
      if (event.type === "pointerup") move(from, event, start, true);
    };
    element.addEventListener("pointermove", onMove);
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, finish);
  });
}
