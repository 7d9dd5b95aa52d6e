// Copies the text of an element when the button that names it is pressed.
document.addEventListener("click", async (event) => {
	const button = event.target.closest("[data-copy]");
	if (!button) return;
	const text = document.getElementById(button.dataset.copy);
	try {
		await navigator.clipboard.writeText(text.textContent);
		button.textContent = "Copied";
	} catch { // without TLS there is no clipboard: select it for the person to copy
		getSelection().selectAllChildren(text);
	}
});
