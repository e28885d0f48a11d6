"use strict";
// A before/after slider for each photograph, from the pictures of its strip. It is a range input
// laid over the pictures: mouse, touch and arrow keys come with it.
for (const photograph of document.querySelectorAll(".photograph")) {
  const figures = [...photograph.querySelectorAll("figure")];
  if (figures.length < 2) continue;
  const labels = figures.map((figure) => figure.dataset.label);
  const sources = figures.map((figure) => figure.querySelector(".whole img").src);

  const stage = document.createElement("div");
  stage.className = "stage";
  const pictures = ["after", "before"].map((side) => {
    const picture = document.createElement("img");
    picture.className = side;
    picture.loading = "lazy";
    stage.append(picture);
    return picture;
  });
  const slider = document.createElement("input");
  slider.type = "range";
  slider.min = 0;
  slider.max = 100;
  slider.step = "any";
  slider.setAttribute("aria-label", "Where the left picture ends and the right one begins");
  stage.append(slider);
  const move = () => stage.style.setProperty("--at", `${slider.value}%`);
  slider.addEventListener("input", move);

  const sides = document.createElement("div");
  sides.className = "sides";
  const choose = (name, picture, start) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    labels.forEach((text, index) => select.add(new Option(text, index)));
    const show = () => {
      picture.src = sources[select.value];
      picture.alt = labels[select.value];
    };
    select.selectedIndex = start;
    select.addEventListener("change", show);
    show();
    label.append(`${name} `, select);
    sides.append(label);
  };
  choose("Left", pictures[1], 0);
  choose("Right", pictures[0], 1);
  slider.value = 50;
  move();

  const compare = document.createElement("div");
  compare.className = "compare";
  compare.append(stage, sides);
  photograph.querySelector(".strip").before(compare);
}
